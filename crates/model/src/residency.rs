//! Experts of a model that is larger than the memory it may take: the likely ones are kept, the others read when they
//! are needed.
//!
//! A few threads read whole experts from the packed file, past the kernel's file cache (what is kept here should not
//! lie in memory twice). Which expert makes room is decided by when each is likely to be needed next: from how often
//! it was used lately and how far its layer is away ([`Forecast`]). The decoder says what it needs now ([`wave`]) and
//! what the next layer may need ([`likely`]). Results never depend on what is kept.
//!
//! [`wave`]: ExpertCache::wave
//! [`likely`]: ExpertCache::likely

mod forecast;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use compute::{AlignedBytes, DType, Matrix};
use stdx::direct::{DIRECT_ALIGN, DirectFile};
use stdx::fs::FsError;

use forecast::Forecast;

/// Threads that read; each has one read under way, and disks are fastest with a few at a time.
const N_READERS: usize = 4;
/// Experts computed together while others are being read.
const WAVE_MAX: usize = 8;
/// The fewest experts that must fit: two waves, and a read for every thread.
pub(crate) const EXPERTS_MIN: usize = 2 * WAVE_MAX + N_READERS;

/// Where all experts' part of one layer's projection lies in the packed file, one expert after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) dtype: DType,
    /// Rows and columns of one expert.
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Bytes of one expert.
    pub(crate) length: usize,
}

impl Piece {
    fn range(&self, expert: usize) -> Range<u64> {
        let start = self.offset + (expert * self.length) as u64;
        start..start + self.length as u64
    }
}

/// The three projections of one layer: gate, up, down.
pub(crate) type Pieces = [Piece; 3];

/// One expert in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    bytes: Arc<AlignedBytes>,
}

impl Loaded {
    /// Its memory, for another expert; none while somebody still computes with it.
    fn into_bytes(self: Arc<Self>) -> Option<AlignedBytes> {
        let Self {
            gate,
            up,
            down,
            bytes,
        } = Arc::into_inner(self)?;
        drop((gate, up, down));
        Arc::into_inner(bytes)
    }
}

/// What the cache has done since loading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResidencyStats {
    /// Experts needed, each counted once a step and layer.
    pub needed: u64,
    /// Those that were in memory or being read when they were needed.
    pub hits: u64,
    /// Bytes read from the disk.
    pub bytes_read: u64,
    /// Bytes that all experts have.
    pub bytes_total: u64,
    /// Bytes of experts that fit at once.
    pub bytes_kept_max: u64,
}

/// An expert of the model: `layer * E + expert`.
type Key = usize;

/// Why an expert is not there: the words of the first failure.
type Failure = Arc<str>;

enum Place {
    OnDisk,
    /// In a queue, or being read.
    Coming,
    Here(Arc<Loaded>),
    /// The next one who needs it is told, and it is read anew after that.
    Failed(Failure),
}

struct State {
    places: Vec<Place>, // (L·E)
    /// Waves that need the expert now; it stays while there are any.
    pins: Vec<u32>, // (L·E)
    forecast: Forecast,
    /// Experts for which memory may still be taken.
    n_unmade: usize,
    urgent: VecDeque<Key>,
    likely: VecDeque<Key>,
    closing: bool,
}

struct Shared {
    file: DirectFile,
    path: PathBuf,
    pieces: Vec<Option<Pieces>>, // (L); none for dense layers
    n_experts: usize,
    slot_bytes: usize,
    state: Mutex<State>,
    /// Readers wait here for work or room.
    work: Condvar,
    /// Waves wait here for experts.
    arrived: Condvar,
    needed: AtomicU64,
    hits: AtomicU64,
    bytes_read: AtomicU64,
}

/// The experts of one model.
pub(crate) struct ExpertCache {
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
    n_slots: usize,
    /// Held while a layer's experts are computed: two at once might each wait for room that the other holds.
    turn: Mutex<()>,
}

impl std::fmt::Debug for ExpertCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpertCache")
            .field("n_slots", &self.n_slots)
            .finish_non_exhaustive()
    }
}

/// Memory that any expert of these layers fits, in bytes, with what alignment costs.
pub(crate) fn slot_bytes<'a>(layers: impl IntoIterator<Item = &'a Pieces>) -> usize {
    let of_layer = |pieces: &Pieces| pieces.iter().map(room).sum::<usize>();
    let largest = layers.into_iter().map(of_layer).max().unwrap_or(0);
    largest + DIRECT_ALIGN
}

/// Room for one piece read in whole blocks, wherever it starts.
fn room(piece: &Piece) -> usize {
    let starts_on_block = piece.offset.is_multiple_of(DIRECT_ALIGN as u64);
    if starts_on_block && piece.length.is_multiple_of(DIRECT_ALIGN) {
        piece.length
    } else {
        piece.length.next_multiple_of(DIRECT_ALIGN) + DIRECT_ALIGN
    }
}

impl ExpertCache {
    /// A cache of at most `n_slots` experts of the layers `pieces`, in the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    ///
    /// # Panics
    /// If `n_slots` is below [`EXPERTS_MIN`].
    pub(crate) fn new(
        path: PathBuf,
        pieces: Vec<Option<Pieces>>,
        n_experts: usize,
        n_experts_used: usize,
        n_slots: usize,
    ) -> Result<Self, FsError> {
        assert!(
            n_slots >= EXPERTS_MIN,
            "{n_slots} experts are too few to take turns"
        );
        let n_keys = pieces.len() * n_experts;
        let shared = Arc::new(Shared {
            file: DirectFile::open(&path)?,
            path,
            slot_bytes: slot_bytes(pieces.iter().flatten()),
            state: Mutex::new(State {
                places: (0..n_keys).map(|_| Place::OnDisk).collect(),
                pins: vec![0; n_keys],
                forecast: Forecast::new(pieces.len(), n_experts, n_experts_used),
                n_unmade: n_slots,
                urgent: VecDeque::new(),
                likely: VecDeque::new(),
                closing: false,
            }),
            pieces,
            n_experts,
            work: Condvar::new(),
            arrived: Condvar::new(),
            needed: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
        });
        let mut cache = Self {
            shared,
            readers: Vec::with_capacity(N_READERS),
            n_slots,
            turn: Mutex::new(()),
        };
        for number in 0..N_READERS {
            let shared = Arc::clone(&cache.shared);
            let reader = thread::Builder::new().name(format!("expert-reader-{number}"));
            let started = reader.spawn(move || shared.read_until_closed());
            let failed = |source| FsError::new("start a thread to read", &cache.shared.path, source);
            cache.readers.push(started.map_err(failed)?);
        }
        Ok(cache)
    }

    /// What it has done since loading.
    pub(crate) fn stats(&self) -> ResidencyStats {
        let shared = &self.shared;
        let of_layer = |pieces: &Pieces| pieces.iter().map(|piece| piece.length).sum::<usize>();
        let one_of_each: usize = shared.pieces.iter().flatten().map(of_layer).sum();
        ResidencyStats {
            needed: shared.needed.load(Ordering::Relaxed),
            hits: shared.hits.load(Ordering::Relaxed),
            bytes_read: shared.bytes_read.load(Ordering::Relaxed),
            bytes_total: (one_of_each * shared.n_experts) as u64,
            bytes_kept_max: (self.n_slots * shared.slot_bytes) as u64,
        }
    }

    /// The turn of one layer: nobody else's experts come and go while it is held.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a layer needs `experts` in this step, and returns the order in which to compute them, in waves of few:
    /// first those that are there.
    pub(crate) fn plan(&self, layer: usize, experts: &[usize]) -> Vec<Vec<usize>> {
        let mut state = self.shared.lock();
        let State {
            places,
            forecast,
            likely,
            ..
        } = &mut *state;
        forecast.used(layer, experts);
        // Guesses that nobody has begun to read: now it is known what is needed.
        for key in likely.drain(..) {
            places[key] = Place::OnDisk;
        }
        let is_here =
            |expert: &usize| !matches!(places[self.key(layer, *expert)], Place::OnDisk | Place::Failed(_));
        let (here, missing): (Vec<usize>, Vec<usize>) = experts.iter().partition(|expert| is_here(expert));
        self.shared
            .needed
            .fetch_add(experts.len() as u64, Ordering::Relaxed);
        self.shared.hits.fetch_add(here.len() as u64, Ordering::Relaxed);
        let waves = here.chunks(WAVE_MAX).chain(missing.chunks(WAVE_MAX));
        waves.map(<[usize]>::to_vec).collect()
    }

    /// Asks for experts of a layer and keeps them until the wave is dropped.
    pub(crate) fn wave(&self, layer: usize, experts: &[usize]) -> Wave<'_> {
        let keys: Vec<Key> = experts.iter().map(|expert| self.key(layer, *expert)).collect();
        let mut state = self.shared.lock();
        for &key in &keys {
            state.pins[key] += 1;
            match state.places[key] {
                Place::OnDisk | Place::Failed(_) => {
                    state.places[key] = Place::Coming;
                    state.urgent.push_back(key);
                }
                Place::Coming | Place::Here(_) => {}
            }
        }
        drop(state);
        self.shared.work.notify_all();
        Wave { cache: self, keys }
    }

    /// Guesses that a layer will soon need `experts`, the likeliest first: they are read when nothing else is to read.
    pub(crate) fn likely(&self, layer: usize, experts: &[usize]) {
        let mut state = self.shared.lock();
        for expert in experts {
            let key = self.key(layer, *expert);
            state.forecast.expect(key);
            if matches!(state.places[key], Place::OnDisk) {
                state.places[key] = Place::Coming;
                state.likely.push_back(key);
            }
        }
        drop(state);
        self.shared.work.notify_all();
    }

    /// The experts of a layer in the order in which they are likely to be used.
    pub(crate) fn most_used(&self, layer: usize) -> Vec<usize> {
        self.shared.lock().forecast.most_used(layer)
    }

    fn key(&self, layer: usize, expert: usize) -> Key {
        layer * self.shared.n_experts + expert
    }
}

impl Drop for ExpertCache {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for reader in self.readers.drain(..) {
            // A reader that panicked has said so already.
            let _ = reader.join();
        }
    }
}

/// Some experts of one layer that stay in memory while this lives.
pub(crate) struct Wave<'a> {
    cache: &'a ExpertCache,
    keys: Vec<Key>,
}

impl Wave<'_> {
    /// Waits until they are there; in the order in which they were asked for.
    ///
    /// # Errors
    /// When one could not be read.
    pub(crate) fn wait(&self) -> Result<Vec<Arc<Loaded>>, String> {
        let shared = &self.cache.shared;
        let mut state = shared.lock();
        let mut loaded = Vec::with_capacity(self.keys.len());
        while let Some(&key) = self.keys.get(loaded.len()) {
            match &state.places[key] {
                Place::Here(expert) => loaded.push(Arc::clone(expert)),
                Place::Failed(reason) => return Err(reason.to_string()),
                Place::OnDisk | Place::Coming => {
                    state = shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        Ok(loaded)
    }
}

impl Drop for Wave<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.shared.lock();
        for &key in &self.keys {
            state.pins[key] -= 1;
        }
        drop(state);
        self.cache.shared.work.notify_all();
    }
}

impl State {
    /// What to read next, and the memory to read it to; none if it has to be made.
    fn next_read(&mut self) -> Option<(Key, Option<AlignedBytes>)> {
        let is_urgent = !self.urgent.is_empty();
        let key = *self.urgent.front().or(self.likely.front())?;
        let bytes = if self.n_unmade > 0 {
            self.n_unmade -= 1;
            None
        } else {
            // A guess takes no room from what is needed sooner.
            let sooner = if is_urgent {
                0.0
            } else {
                self.forecast.steps_until(key)
            };
            self.evict(sooner)?
        };
        let queue = if is_urgent {
            &mut self.urgent
        } else {
            &mut self.likely
        };
        queue.pop_front();
        Some((key, bytes))
    }

    /// Gives up the expert that is needed last, if that is more than so many steps away; `None` if there is none.
    /// Its memory stays away if somebody still looks at it: then other memory may be taken.
    fn evict(&mut self, more_than: f32) -> Option<Option<AlignedBytes>> {
        let Self {
            places,
            pins,
            forecast,
            ..
        } = self;
        let here = (0..places.len()).filter(|key| pins[*key] == 0 && matches!(places[*key], Place::Here(_)));
        let (steps, last) = here
            .map(|key| (forecast.steps_until(key), key))
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        if steps <= more_than {
            return None;
        }
        match std::mem::replace(&mut places[last], Place::OnDisk) {
            Place::Here(expert) => Some(expert.into_bytes()),
            _ => None,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader's life.
    fn read_until_closed(&self) {
        let mut state = self.lock();
        while !state.closing {
            let Some((key, bytes)) = state.next_read() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let bytes = bytes.unwrap_or_else(|| AlignedBytes::zeroed(self.slot_bytes));
            let read = self.load(key, bytes);
            state = self.lock();
            state.places[key] = match read {
                Ok(loaded) => Place::Here(Arc::new(loaded)),
                Err(reason) => {
                    state.n_unmade += 1;
                    Place::Failed(reason.into())
                }
            };
            self.arrived.notify_all();
        }
    }

    /// Reads one expert. On an error the memory is given back to the system.
    fn load(&self, key: Key, mut bytes: AlignedBytes) -> Result<Loaded, String> {
        let (layer, expert) = (key / self.n_experts, key % self.n_experts);
        let pieces = self.pieces[layer].ok_or_else(|| format!("layer {layer} has no experts"))?;
        let mut at = bytes.as_ptr().align_offset(DIRECT_ALIGN);
        let mut ranges = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let wanted = piece.range(expert);
            let blocks = DirectFile::whole_blocks(wanted.clone());
            let n_bytes = (blocks.end - blocks.start) as usize;
            let before = (wanted.start - blocks.start) as usize;
            let n_read = self
                .file
                .read_at(&mut bytes[at..at + n_bytes], blocks.start)
                .map_err(|source| FsError::new("read", &self.path, source).to_string())?;
            if n_read < before + piece.length {
                return Err(format!(
                    "`{}` ends before expert {expert} of layer {layer}: it was cut off; delete it, and it is made anew",
                    self.path.display()
                ));
            }
            self.bytes_read.fetch_add(n_bytes as u64, Ordering::Relaxed);
            ranges.push(at + before..at + before + piece.length);
            at += n_bytes;
        }
        let bytes = Arc::new(bytes);
        let matrix = |index: usize| {
            let (piece, owner) = (pieces[index], Arc::clone(&bytes));
            Matrix::from_interleaved(piece.dtype, piece.rows, piece.cols, owner, ranges[index].clone())
                .map_err(|error| error.to_string())
        };
        let (gate, up, down) = (matrix(0)?, matrix(1)?, matrix(2)?);
        Ok(Loaded {
            gate,
            up,
            down,
            bytes,
        })
    }
}
