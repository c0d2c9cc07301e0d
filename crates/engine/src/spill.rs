//! Blocks of prompts on the disk, for prompts that begin alike after a restart, or when memory has forgotten them.
//!
//! A file's name is a hash of everything its content depends on: weights, arithmetic, partition and all tokens up to
//! its end. Its content is checked by a hash of its own, so a torn or foreign file is a file that is not there.
//! Reading and writing have a thread each, so that running sequences never wait for the disk; what comes too fast to
//! be written is left out. Files hold what prompts said, in numbers: they are as secret as the documents.

mod writer;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use model::{KV_BLOCK, KvBlock};
use stdx::hash::sha256;

use crate::scheduler::SequenceId;
use writer::Writer;

/// First bytes of a file; the hash of the rest follows.
const MAGIC: &[u8; 8] = b"HANOKKV1";
const HEADER: usize = MAGIC.len() + 32;
const SUFFIX: &str = "kv";
/// Blocks that may wait to be written; more are left out.
const WAITING_MAX: usize = 16;

/// Where blocks are kept on the disk, and how much of it they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillConfig {
    /// A folder for this alone; made where it is missing.
    pub folder: PathBuf,
    /// Bytes of all files together, whichever processes write them; the ones not used for longest go first.
    pub bytes_max: u64,
}

/// Names a block.
type Key = [u8; 32];

enum Message {
    Keep(Key, KvBlock),
    Used(Key),
}

/// Blocks that a sequence wants, one after another.
#[derive(Debug)]
struct Order {
    id: SequenceId,
    keys: Vec<Key>,
}

/// What was found of the blocks that a sequence asked for, up to the first that is missing.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: SequenceId,
    pub(crate) blocks: Vec<KvBlock>,
}

/// The disk's side of the prefix cache.
#[derive(Debug)]
pub(crate) struct Spill {
    folder: PathBuf,
    /// Hash of what blocks depend on besides partition and tokens.
    origin: Key,
    /// None once it is closed.
    messages: Option<SyncSender<Message>>,
    orders: Option<Sender<Order>>,
    loaded: Receiver<Loaded>,
    threads: Vec<JoinHandle<()>>,
}

impl Spill {
    /// Opens the folder. `None`, and a line in the log, where that is not possible: then nothing is kept.
    pub(crate) fn open(config: &SpillConfig, origin: Key, block_bytes: usize) -> Option<Self> {
        let (messages, inbox) = sync_channel(WAITING_MAX);
        let writer = match Writer::open(config) {
            Ok(writer) => writer,
            Err(error) => {
                tracing::warn!(%error, "beginnings of prompts are not kept on the disk");
                return None;
            }
        };
        let (orders, wanted) = channel();
        let (found, loaded) = channel();
        let reader = Reader {
            folder: config.folder.clone(),
            block_bytes,
            messages: messages.clone(),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let threads = vec![
            thread("spill-write").spawn(move || writer.run(&inbox)).ok()?,
            thread("spill-read")
                .spawn(move || reader.run(&wanted, &found))
                .ok()?,
        ];
        Some(Self {
            folder: config.folder.clone(),
            origin,
            messages: Some(messages),
            orders: Some(orders),
            loaded,
            threads,
        })
    }

    /// The names of a text's first `n` blocks.
    pub(crate) fn keys(&self, partition: u128, tokens: &[u32], n: usize) -> Vec<Key> {
        let mut key = sha256(&[&self.origin[..], &partition.to_le_bytes()].concat());
        let blocks = tokens.chunks_exact(KV_BLOCK).take(n);
        blocks
            .map(|block| {
                let ids = block.iter().flat_map(|id| id.to_le_bytes());
                key = sha256(&key.into_iter().chain(ids).collect::<Vec<u8>>());
                key
            })
            .collect()
    }

    /// Asks for blocks, if the first of them is there; whether an answer will come.
    pub(crate) fn ask(&self, id: SequenceId, keys: &[Key]) -> bool {
        let is_there = |key| stdx::fs::metadata(path(&self.folder, key)).is_ok();
        if !keys.first().is_some_and(is_there) {
            return false;
        }
        let keys = keys.to_vec();
        self.orders
            .as_ref()
            .is_some_and(|orders| orders.send(Order { id, keys }).is_ok())
    }

    /// The next answer, if there is one.
    pub(crate) fn try_loaded(&self) -> Option<Loaded> {
        self.loaded.try_recv().ok()
    }

    /// Waits for the next answer; `None` if none will come any more.
    pub(crate) fn loaded(&self) -> Option<Loaded> {
        self.loaded.recv().ok()
    }

    /// Writes a block soon, if the disk keeps up.
    pub(crate) fn keep(&self, key: Key, block: KvBlock) {
        if let Some(messages) = &self.messages {
            // A full queue leaves it out; a writer that has given up has said so.
            let _ = messages.try_send(Message::Keep(key, block));
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        drop((self.orders.take(), self.messages.take()));
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Reads blocks for sequences that wait for them.
struct Reader {
    folder: PathBuf,
    block_bytes: usize,
    messages: SyncSender<Message>,
}

impl Reader {
    fn run(&self, orders: &Receiver<Order>, found: &Sender<Loaded>) {
        for Order { id, keys } in orders {
            let blocks = keys.iter().map_while(|key| self.read(key)).collect();
            if found.send(Loaded { id, blocks }).is_err() {
                return;
            }
        }
    }

    /// Reads a block; `None` if it is not there, or not what it should be.
    fn read(&self, key: &Key) -> Option<KvBlock> {
        let path = path(&self.folder, key);
        let mut bytes = Vec::with_capacity(HEADER + self.block_bytes);
        let mut file = stdx::fs::open(&path).ok()?;
        file.read_to_end(&mut bytes).ok()?;
        let (header, content) = bytes.split_at(HEADER.min(bytes.len()));
        let is_whole = header.starts_with(MAGIC)
            && content.len() == self.block_bytes
            && sha256(content)[..] == header[MAGIC.len()..];
        if !is_whole {
            // It would be found again and again.
            let _ = stdx::fs::remove_file(&path);
            return None;
        }
        // A full queue leaves it out.
        let _ = self.messages.try_send(Message::Used(*key));
        Some(KvBlock::from_bytes(content))
    }
}

fn name(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(folder: &Path, key: &Key) -> PathBuf {
    folder.join(name(key)).with_extension(SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 1000;

    fn open(folder: &Path, bytes_max: u64) -> Spill {
        let config = SpillConfig {
            folder: folder.to_owned(),
            bytes_max,
        };
        Spill::open(&config, sha256(b"model"), BYTES).unwrap()
    }

    /// What is there under a name.
    fn read(spill: &Spill, key: Key) -> Option<KvBlock> {
        spill.ask(7, &[key]).then(|| spill.loaded())??.blocks.pop()
    }

    fn block(fill: u8) -> KvBlock {
        KvBlock::from_bytes(&[fill; BYTES])
    }

    /// Blocks in the folder, and what its tally says of them.
    fn n_blocks(folder: &Path) -> usize {
        let files = stdx::fs::read_dir(folder).unwrap();
        let n = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == SUFFIX))
            .count();
        let tally = stdx::fs::read_to_string(folder.join("bytes")).unwrap();
        assert_eq!(tally, (n * (BYTES + HEADER)).to_string());
        n
    }

    #[test]
    fn blocks_come_back_after_a_restart_and_only_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let tokens: Vec<u32> = (0..200).collect();
        let spill = open(folder.path(), 1 << 20);
        let keys = spill.keys(7, &tokens, 9);
        assert_eq!(keys.len(), 3, "whole blocks only");
        assert_ne!(keys, spill.keys(8, &tokens, 9), "another partition");
        assert_eq!(keys[..2], spill.keys(7, &tokens[..130], 9));
        assert!(read(&spill, keys[0]).is_none());
        for (key, fill) in keys.iter().zip(1..) {
            spill.keep(*key, block(fill));
        }
        drop(spill);
        let spill = open(folder.path(), 1 << 20);
        for (key, fill) in keys.iter().zip(1..) {
            assert_eq!(read(&spill, *key).unwrap().bytes(), [fill; BYTES]);
        }
        let file = path(folder.path(), &keys[1]);
        let whole = stdx::fs::read(&file).unwrap();
        let flipped = [&whole[..100], b"x", &whole[101..]].concat();
        for bytes in [whole[..500].to_vec(), Vec::new(), flipped] {
            stdx::fs::write(&file, bytes).unwrap();
            assert!(read(&spill, keys[1]).is_none());
            assert!(!file.exists(), "it is not found again");
        }
        assert!(read(&spill, keys[2]).is_some());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let room = 3 * (BYTES + HEADER) as u64;
        let keys: Vec<Key> = (0..5u8).map(|i| sha256(&[i])).collect();
        let spill = open(folder.path(), room);
        for key in &keys[..3] {
            spill.keep(*key, block(1));
        }
        drop(spill);
        // Of somebody who was killed there is a half.
        let half = folder.path().join("block.tmp");
        stdx::fs::write(&half, b"half").unwrap();
        let spill = open(folder.path(), room);
        assert_eq!(n_blocks(folder.path()), 3);
        assert!(!half.exists());
        for used in [1, 2, 0] {
            assert!(read(&spill, keys[used]).is_some());
        }
        spill.keep(keys[3], block(1));
        drop(spill);
        let spill = open(folder.path(), room);
        let is_there = keys.iter().map(|key| read(&spill, *key).is_some());
        assert_eq!(is_there.collect::<Vec<_>>(), [true, false, true, true, false]);
        drop(spill);
        // A smaller limit is kept from the start on.
        drop(open(folder.path(), room / 3));
        assert_eq!(n_blocks(folder.path()), 1);
    }

    #[test]
    fn the_limit_holds_for_all_who_write_into_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let room = 4 * (BYTES + HEADER) as u64;
        let writers = [(); 3].map(|()| open(folder.path(), room));
        let key = |writer: usize, i: u8| sha256(&[writer as u8, i]);
        for i in 0..6 {
            for (number, writer) in writers.iter().enumerate() {
                writer.keep(key(number, i), block(i));
                // One that all have.
                writer.keep(key(9, 0), block(9));
            }
        }
        drop(writers);
        assert_eq!(n_blocks(folder.path()), 4);
        let [first, second] = [(); 2].map(|()| open(folder.path(), room));
        assert!(read(&second, key(9, 0)).is_some(), "used last");
        // What another one used is not what goes, and files may go at any time.
        let others = stdx::fs::read_dir(folder.path()).unwrap();
        let mut others = others
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == SUFFIX))
            .filter(|file| **file != path(folder.path(), &key(9, 0)));
        stdx::fs::remove_file(others.next().unwrap()).unwrap();
        drop(second);
        for i in 10..13 {
            first.keep(key(0, i), block(i));
        }
        drop(first);
        assert_eq!(n_blocks(folder.path()), 4);
        let last = open(folder.path(), room);
        assert!(read(&last, key(9, 0)).is_some());
        assert!((10..13).all(|i| read(&last, key(0, i)).is_some()));
    }

    #[test]
    fn room_is_made_for_more_than_one_block_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let n_max = 64;
        let spill = open(folder.path(), n_max * (BYTES + HEADER) as u64);
        for i in 0..=n_max as u8 {
            // Waits where the queue is full.
            let message = Message::Keep(sha256(&[i]), block(i));
            spill.messages.as_ref().unwrap().send(message).unwrap();
        }
        drop(spill);
        assert_eq!(n_blocks(folder.path()), 60);
    }

    #[test]
    fn a_folder_that_cannot_be_is_no_reason_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        stdx::fs::write(&file, b"").unwrap();
        let config = SpillConfig {
            folder: file.join("below"),
            bytes_max: 1,
        };
        assert!(Spill::open(&config, [0; 32], BYTES).is_none());
        // The folder goes while it is open.
        let below = folder.path().join("gone");
        let spill = open(&below, 1 << 20);
        stdx::fs::remove_dir_all(&below).unwrap();
        spill.keep([1; 32], block(1));
        spill.keep([2; 32], block(1));
        assert!(read(&spill, [1; 32]).is_none());
    }
}
