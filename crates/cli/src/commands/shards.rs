//! `hanok ingest --shard` and `--commit`: bulk ingestion in parts, by as many processes as there are.

use std::path::{Path, PathBuf};

use knowledge::shard::{self, Shard};
use knowledge::{Access, Go};
use server::local::Client;
use server::wire::IngestJson;

use super::ingest::{Bar, finish, make_vectors};
use crate::args::IngestArgs;
use crate::exit::{Code, Failure, Result};
use crate::settings::Settings;
use crate::{house, interrupt};

/// Reads one part of the files into a segment.
pub(super) fn make(
    shard: Shard,
    paths: &[PathBuf],
    to: &Path,
    settings: &Settings,
    json: bool,
) -> Result<Code> {
    let options = house::read_options(settings, Access::Write)?;
    let mut bar = Bar::default();
    let report = shard::make(shard, paths, to, &settings.data_dir, &options, &mut |event| {
        if bar.go(&event) == Go::Stop || interrupt::asked() {
            Go::Stop
        } else {
            Go::On
        }
    });
    bar.clear();
    let report = report.map_err(house::not_stored)?;
    interrupt::check("the segment is not whole; the same command makes it anew")?;
    finish(&IngestJson::from(&report), json)
}

/// Takes in all segments in a folder.
pub(super) fn commit(from: &Path, args: &IngestArgs, settings: &Settings, json: bool) -> Result<Code> {
    if settings.store.is_none() && Client::connect(&settings.data_dir).is_some() {
        return Err(Failure::environment(
            "a server runs on this data directory, and segments are taken in without it",
        )
        .hint("stop it, commit, and start it again; with documents in PostgreSQL it may go on"));
    }
    let store = house::open(settings, Access::Write)?;
    if args.publish_rules {
        store.publish_rules().map_err(house::not_stored)?;
    }
    let report = store.commit_segments(from).map_err(house::not_stored)?;
    let code = finish(&IngestJson::from(&report), json)?;
    if !args.no_vectors {
        make_vectors(&store, settings)?;
    }
    Ok(code)
}
