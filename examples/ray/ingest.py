"""Bulk ingestion of a folder on a Ray cluster: every part is a task, and one commit takes all of them in.

    pip install ray
    python ingest.py --documents /srv/documents --segments /srv/segments --parts 32 \
        --store postgresql://hanok@db.example/hanok?sslmode=disable --data-dir /var/lib/hanok

Every machine of the cluster must see the documents and the folder of segments under the same paths and have the program
`hanok`. A part whose worker dies is begun again by Ray; a part that is whole is left as it is, so the same command goes
on where an earlier one ended. The commit runs here, once all parts are whole: it takes in everything or nothing. The
store's password comes from the environment, HANOK_STORE_PASSWORD.
"""

import argparse
import json
import os
import subprocess
import sys

import ray

# A part is begun again this often when its worker or machine is lost.
RETRIES = 5


@ray.remote(max_retries=RETRIES)
def make_segment(hanok, part, parts, documents, segments):
    """Reads one part; returns what `hanok ingest --json` reported."""
    command = [hanok, "ingest", "--shard", f"{part}/{parts}", "--to", segments, "--json", *documents]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 2):  # 2: not a single file of this part could be read; they are listed in it
        raise RuntimeError(f"part {part} of {parts} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--documents", nargs="+", required=True, help="files and folders")
    arguments.add_argument("--segments", required=True, help="folder for the segments, new for each run")
    arguments.add_argument("--parts", type=int, default=8, help="more parts than workers even the work out")
    arguments.add_argument("--hanok", default="hanok", help="the program")
    arguments.add_argument("--store", help="the database to commit to; without it: the data directory")
    arguments.add_argument("--data-dir", help="the data directory of the commit")
    given = arguments.parse_args()
    documents = [os.path.abspath(path) for path in given.documents]
    segments = os.path.abspath(given.segments)

    ray.init()
    running = {
        make_segment.remote(given.hanok, part, given.parts, documents, segments): part
        for part in range(1, given.parts + 1)
    }
    failed = 0
    while running:
        ready, _ = ray.wait(list(running))
        for task in ready:
            part = running.pop(task)
            report = ray.get(task)
            failed += len(report["failed"])
            print(f"part {part}: {report['added'] + report['unchanged']} documents, {report['s']:.1f} s", file=sys.stderr)
    if failed:
        print(f"{failed} files could not be read; the commit lists them", file=sys.stderr)

    command = [given.hanok, "ingest", "--commit", segments, "--no-vectors"]
    if given.store:
        command += ["--store", given.store]
    if given.data_dir:
        command += ["--data-dir", given.data_dir]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
