//! What a model needs of memory, and what there is: the machine's free memory and the limits of control groups.
//!
//! Reads what the kernel says (Linux); elsewhere nothing is known and nothing refused. Not an allocator.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// Tokens of a step whose buffers are counted.
const STEP_TOKENS: u64 = 512;
/// Bytes that the tokenizer has for each token, about.
const TOKEN_TEXT_BYTES: u64 = 128;
/// Bytes of the program and its threads, about.
const PROGRAM_BYTES: u64 = 16 << 20;

/// Memory that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// What limits them, for people.
    pub limited_by: &'static str,
}

impl Available {
    /// What this process can have now; `None` where the system does not say.
    pub fn now() -> Option<Self> {
        Self::under(Path::new("/"))
    }

    /// As [`Self::now`], with the kernel's files below `root`.
    fn under(root: &Path) -> Option<Self> {
        let free = text(&root.join("proc/meminfo")).and_then(|text| free(&text));
        let free = free.map(|bytes| Self {
            bytes,
            limited_by: "free memory of the machine",
        });
        let group = group_limit(root).map(|bytes| Self {
            bytes,
            limited_by: "limit of the control group",
        });
        free.into_iter().chain(group).min_by_key(|known| known.bytes)
    }
}

/// Elements of keys and values that one token adds, over all layers.
pub fn cache_elements(config: &Config) -> u64 {
    2 * config.n_layers as u64 * config.kv_width() as u64
}

/// Bytes that a process takes, whatever it is asked, besides weights, keys and values: about what the buffers of a step
/// of [`STEP_TOKENS`], the vocabulary and the program itself take.
pub(crate) fn working_bytes(config: &Config) -> u64 {
    // Each choice of an expert has its own gate, up and result.
    let per_choice = config.n_experts_used * (2 * config.d_ff_expert + config.d_model);
    let per_token = 3 * config.d_model + 2 * config.q_width() + 2 * config.kv_width();
    let numbers = per_token + per_choice.max(2 * config.d_ff);
    let steps = STEP_TOKENS.saturating_mul(numbers as u64).saturating_mul(4);
    steps.saturating_add(config.vocab_size as u64 * TOKEN_TEXT_BYTES + PROGRAM_BYTES)
}

/// The same with the rotations of so many positions.
pub(crate) fn working_bytes_with(config: &Config, context: usize) -> u64 {
    let rotations = rotation_bytes(config).saturating_mul(context as u64);
    working_bytes(config).saturating_add(rotations)
}

/// Bytes of one position's rotation.
pub(crate) fn rotation_bytes(config: &Config) -> u64 {
    4 * config.head_dim as u64
}

/// Bytes for people, in GB or MB.
pub(crate) fn shown(bytes: u64) -> String {
    let megabytes = bytes.div_ceil(100_000) as f64 / 10.0;
    if megabytes >= 1000.0 {
        format!("{:.1} GB", megabytes / 1000.0)
    } else {
        format!("{megabytes:.1} MB")
    }
}

fn text(path: &Path) -> Option<String> {
    stdx::fs::read_to_string(path).ok()
}

/// `MemAvailable` of `/proc/meminfo`.
fn free(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Names of a control group's files, which differ between the two versions.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Cached file pages that the kernel gives back when memory is short.
    reclaimable: &'static str,
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const VERSION_2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file",
};

/// What is left of the tightest limit of this process's control group and those above it.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = text(&root.join("proc/self/cgroup"))?;
    let mut tightest = None;
    for line in groups.lines() {
        // `ID:CONTROLLERS:PATH`; version 2 has no controllers here.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (mount, files) = if controllers.is_empty() {
            ("sys/fs/cgroup", VERSION_2)
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", VERSION_1)
        } else {
            continue;
        };
        let left = groups_upwards(&root.join(mount), path)
            .iter()
            .filter_map(|folder| left_in(folder, &files))
            .min();
        tightest = tightest.into_iter().chain(left).min();
    }
    tightest
}

/// The folder of a group and those above it. Inside a container the path may be one that only the host sees: then
/// the mount itself is the group.
fn groups_upwards(mount: &Path, path: &str) -> Vec<PathBuf> {
    let plain = path.trim_start_matches('/');
    let is_within = plain.split('/').all(|part| part != "..");
    let group = if is_within {
        mount.join(plain)
    } else {
        mount.to_owned()
    };
    let above = group.ancestors().take_while(|folder| folder.starts_with(mount));
    above.map(Path::to_owned).collect()
}

fn left_in(folder: &Path, files: &Files) -> Option<u64> {
    let number = |name: &str| text(&folder.join(name))?.trim().parse::<u64>().ok();
    // "max" is no number: no limit. Version 1 writes a huge one instead.
    let limit = number(files.limit)?;
    let used = number(files.used).unwrap_or(0);
    let statistics = text(&folder.join("memory.stat")).unwrap_or_default();
    let reclaimable = statistics.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == files.reclaimable).then(|| value.trim().parse::<u64>().ok())?
    });
    Some(limit.saturating_sub(used.saturating_sub(reclaimable.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        stdx::fs::create_dir_all(path.parent().unwrap()).unwrap();
        stdx::fs::write(path, text).unwrap();
    }

    const MEMINFO: &str = "MemTotal:       8000000 kB\nMemFree: 1 kB\nMemAvailable:   1000 kB\n";

    #[test]
    fn the_tightest_of_machine_and_groups_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(Available::under(root), None);
        put(root, "proc/meminfo", MEMINFO);
        assert_eq!(Available::under(root).unwrap().bytes, 1_024_000);
        put(root, "proc/self/cgroup", "0::/a/b\n");
        put(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
        put(root, "sys/fs/cgroup/a/memory.max", "500000\n");
        put(root, "sys/fs/cgroup/a/memory.current", "400000\n");
        put(
            root,
            "sys/fs/cgroup/a/memory.stat",
            "anon 1\ninactive_file 50000\n",
        );
        let found = Available::under(root).unwrap();
        assert_eq!(
            (found.bytes, found.limited_by),
            (150_000, "limit of the control group")
        );
        put(root, "sys/fs/cgroup/a/memory.max", "5000000\n");
        assert_eq!(
            Available::under(root).unwrap().limited_by,
            "free memory of the machine"
        );
    }

    #[test]
    fn the_older_version_and_foreign_paths_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "proc/meminfo", MEMINFO);
        put(
            root,
            "proc/self/cgroup",
            "12:cpu,memory:/docker/of-the-host\n3:cpuset:/\nnonsense\n",
        );
        put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "70000\n");
        put(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", "90000\n");
        put(
            root,
            "sys/fs/cgroup/memory/memory.stat",
            "total_inactive_file 30000\n",
        );
        assert_eq!(Available::under(root).unwrap().bytes, 10_000);
        put(root, "proc/self/cgroup", "1:memory:/../../etc\n");
        assert_eq!(Available::under(root).unwrap().bytes, 10_000);
    }

    #[test]
    fn numbers_read_like_people_write_them() {
        assert_eq!(shown(4_210_000_000), "4.2 GB");
        assert_eq!(shown(1), "0.1 MB");
    }
}
