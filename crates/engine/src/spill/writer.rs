//! Writes blocks into the folder, and keeps all that is in it in bounds, however many processes write there.
//!
//! One at a time does, by a lock. What the files take together stands in a file beside them, so that all of them are
//! looked at only where room must be made. Which one was used last, by whichever process, its time of change tells.
//! Files may vanish at any moment: what is counted too much for that, the next look puts right.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use model::KvBlock;
use stdx::fs::FsError;
use stdx::hash::sha256;
use stdx::lock::{FileLock, LockError};

use super::{HEADER, Key, MAGIC, Message, SUFFIX, SpillConfig, path};

/// Who holds it may write.
const LOCK: &str = "lock";
/// Bytes of all blocks, in digits.
const TALLY: &str = "bytes";
/// Ending of a block that is being written.
const HALF: &str = "tmp";
/// Times that the lock is tried for one block, which is left out then.
const N_TRIES: usize = 400;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(5);
/// Where room must be made, this part of all is freed, so that it need not be made again at once.
const FREED_PART: u64 = 16;

/// The writing side.
pub(super) struct Writer {
    folder: PathBuf,
    bytes_max: u64,
}

impl Writer {
    pub(super) fn open(config: &SpillConfig) -> Result<Self, FsError> {
        stdx::fs::create_dir_all(&config.folder)?;
        stdx::fs::make_private(&config.folder)?;
        let writer = Self {
            folder: config.folder.clone(),
            bytes_max: config.bytes_max,
        };
        // Not by what the tally says: after a power cut it may be older than the files. Who holds the lock has looked.
        if let Some(_lock) = writer.try_lock()? {
            let n_bytes = writer.shrink(0)?;
            writer.set_tally(n_bytes)?;
        }
        Ok(writer)
    }

    /// Until nobody asks any more, or a write fails: the disk may be full, and reading goes on without.
    pub(super) fn run(&self, inbox: &Receiver<Message>) {
        for message in inbox {
            match message {
                Message::Used(key) => {
                    touch(&path(&self.folder, &key));
                }
                Message::Keep(key, block) => {
                    if let Err(error) = self.write(&key, &block) {
                        tracing::warn!(%error, "beginnings of prompts are no longer kept on the disk");
                        return;
                    }
                }
            }
        }
    }

    fn write(&self, key: &Key, block: &KvBlock) -> Result<(), FsError> {
        let path = path(&self.folder, key);
        let n_bytes = (HEADER + block.bytes().len()) as u64;
        if n_bytes > self.bytes_max || touch(&path) {
            return Ok(());
        }
        let Some(_lock) = self.lock()? else {
            return Ok(());
        };
        let n_others = match self.tally() {
            Some(n_others) if n_others.saturating_add(n_bytes) <= self.bytes_max => n_others,
            _ => self.shrink(n_bytes)?,
        };
        // There may be files that cannot be removed, and another process may have written this one meanwhile.
        if n_others.saturating_add(n_bytes) > self.bytes_max || stdx::fs::metadata(&path).is_ok() {
            return self.set_tally(n_others);
        }
        // First: what a crash leaves counted is too much rather than too little.
        self.set_tally(n_others + n_bytes)?;
        let content = [&MAGIC[..], &sha256(block.bytes()), block.bytes()].concat();
        // Renamed into place but not synced: a file that a crash tears is found out by its hash.
        let half = self.folder.join("block").with_extension(HALF);
        if let Err(error) = stdx::fs::write(&half, content) {
            let _ = stdx::fs::remove_file(&half);
            return Err(error);
        }
        touch(&half);
        stdx::fs::rename(&half, path)
    }

    /// The lock, if it can be had soon.
    fn lock(&self) -> Result<Option<FileLock>, FsError> {
        for _ in 0..N_TRIES {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    fn try_lock(&self) -> Result<Option<FileLock>, FsError> {
        match FileLock::try_acquire(self.folder.join(LOCK)) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Held { .. }) => Ok(None),
            Err(LockError::Fs(error)) => Err(error),
        }
    }

    fn tally(&self) -> Option<u64> {
        let text = stdx::fs::read_to_string(self.folder.join(TALLY)).ok()?;
        text.trim().parse().ok()
    }

    fn set_tally(&self, n_bytes: u64) -> Result<(), FsError> {
        stdx::fs::write(self.folder.join(TALLY), n_bytes.to_string())
    }

    /// Removes the files not used for longest if there is no room for `n_bytes` more; what is left, in bytes. Needs the
    /// lock.
    fn shrink(&self, n_bytes: u64) -> Result<u64, FsError> {
        let mut found: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for path in stdx::fs::read_dir(&self.folder)? {
            if path.extension().is_some_and(|extension| extension == HALF) {
                // What a killed writer has left: none writes now.
                let _ = stdx::fs::remove_file(&path);
            } else if path.extension().is_some_and(|extension| extension == SUFFIX)
                && let Ok(metadata) = stdx::fs::metadata(&path)
            {
                let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((changed, path, metadata.len()));
            }
        }
        let mut n_left: u64 = found.iter().map(|(_, _, of_it)| of_it).sum();
        if n_left.saturating_add(n_bytes) <= self.bytes_max {
            return Ok(n_left);
        }
        found.sort();
        // In whole blocks, so that of few none goes for this.
        let n_freed = (self.bytes_max / FREED_PART).checked_div(n_bytes).unwrap_or(0);
        let most = self.bytes_max - n_freed * n_bytes;
        for (_, path, of_it) in found {
            if n_left.saturating_add(n_bytes) <= most {
                break;
            }
            if is_gone(&path) {
                n_left -= of_it;
            }
        }
        Ok(n_left)
    }
}

/// Removes a file, unless somebody else has; whether it is there no more.
fn is_gone(path: &Path) -> bool {
    match stdx::fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Notes that a file was used just now; whether it is there.
fn touch(path: &Path) -> bool {
    let Ok(file) = stdx::fs::open(path) else {
        return false;
    };
    // Where that cannot be noted, it goes a little early.
    let _ = file.set_modified(SystemTime::now());
    true
}
