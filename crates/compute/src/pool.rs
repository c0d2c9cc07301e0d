//! Fork-join over a fixed set of threads.
//!
//! One matrix product takes tens of microseconds, so waking threads through the operating system for
//! each would cost more than it gains: workers spin for a moment after each job and sleep only when
//! nothing follows. The caller takes part as thread 0. Not a task scheduler: one job at a time, no
//! queue, no stealing between jobs.
//!
//! * Callers on different threads take turns.
//! * A job that calls [`Pool::run`] again runs that inner job alone on its own thread, as `f(0, 1)`.
//! * A panic in any thread is raised again in the caller, after every thread has left the job.

#![expect(
    unsafe_code,
    reason = "a borrowed closure is lent to threads that outlive the borrow"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps: longer than the pause between two products of a layer,
/// short enough that an idle server costs nothing.
const SPIN: Duration = Duration::from_micros(50);
/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 64;
/// More threads than this are never started.
const THREADS_MAX: usize = 256;
/// Chunks handed to each thread by [`Pool::for_each_chunk`], so that a slow core gets fewer.
const CHUNKS_PER_THREAD: usize = 4;

type Job = dyn Fn(usize, usize) + Sync;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of threads; see the module.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

struct Shared {
    /// Counts jobs; a change is the start signal and publishes `job` and `pending`.
    epoch: AtomicUsize,
    job: UnsafeCell<Option<*const Job>>,
    /// Workers that have not yet left the current job.
    pending: AtomicUsize,
    /// Threads in the current job, the caller included.
    n_threads: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    sleep: Mutex<()>,
    wake_workers: Condvar,
    wake_caller: Condvar,
}

// SAFETY: `job` is written only by the caller holding `turn` while no worker is in a job
// (`pending == 0`), and read by workers only between the epoch change and their `pending` decrement.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer is used only under the protocol above.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, the caller included; 0 counts as 1. If the system refuses more
    /// threads the pool is smaller.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            pending: AtomicUsize::new(0),
            n_threads: AtomicUsize::new(1),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            sleep: Mutex::new(()),
            wake_workers: Condvar::new(),
            wake_caller: Condvar::new(),
        });
        let workers = (1..threads.clamp(1, THREADS_MAX))
            .map_while(|idx| {
                let shared = Arc::clone(&shared);
                let name = format!("compute-{idx}");
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || shared.work(idx))
                    .ok()
            })
            .collect();
        Self {
            shared,
            workers,
            turn: Mutex::new(()),
        }
    }

    /// How many threads take part in a job.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(thread_idx, n_threads)` once on every thread and returns when all have finished.
    ///
    /// # Panics
    /// Raises again the first panic of any thread.
    pub fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        if self.workers.is_empty() || INSIDE.get() {
            return f(0, 1);
        }
        let turn = lock(&self.turn);
        let n_threads = self.threads();
        self.shared.start(f, self.workers.len());
        INSIDE.set(true);
        let own = catch_unwind(AssertUnwindSafe(|| f(0, n_threads)));
        INSIDE.set(false);
        self.shared.wait_for_workers();
        let theirs = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    /// Calls `f` with disjoint ranges that cover `0..n_items`, each of at least `min_chunk` items but
    /// the last. Threads take the next range as they finish one.
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn for_each_chunk(&self, n_items: usize, min_chunk: usize, f: impl Fn(Range<usize>) + Sync) {
        if n_items == 0 {
            return;
        }
        let even = n_items.div_ceil(self.threads() * CHUNKS_PER_THREAD);
        let chunk = even.max(min_chunk).max(1);
        if chunk >= n_items {
            return f(0..n_items);
        }
        let next = AtomicUsize::new(0);
        self.run(&|_, _| {
            loop {
                let start = next.fetch_add(1, Ordering::Relaxed) * chunk;
                if start >= n_items {
                    return;
                }
                f(start..(start + chunk).min(n_items));
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.signal();
        for worker in self.workers.drain(..) {
            // A worker catches its jobs' panics, so there is nothing to report here.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Publishes `f` to the workers. The caller must hold `turn` and call `wait_for_workers` before the
    /// borrow of `f` ends.
    fn start(&self, f: &(dyn Fn(usize, usize) + Sync), n_workers: usize) {
        let borrowed: *const (dyn Fn(usize, usize) + Sync + '_) = f;
        // SAFETY: only the lifetime changes; `run` does not return before every worker has left `f`.
        let job =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync + '_), *const Job>(borrowed) };
        // SAFETY: no worker is inside a job, so nobody reads the cell until the signal.
        unsafe { *self.job.get() = Some(job) };
        self.pending.store(n_workers, Ordering::Relaxed);
        self.n_threads.store(n_workers + 1, Ordering::Relaxed);
        self.signal();
    }

    /// Starts a job or the end: a sleeping worker is seen in `sleepers`, or itself sees the new epoch.
    fn signal(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.wake_workers.notify_all();
        }
    }

    fn work(&self, idx: usize) {
        INSIDE.set(true);
        let mut seen = 0;
        loop {
            seen = self.wait_for_epoch_after(seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.take_part(idx);
        }
    }

    fn take_part(&self, idx: usize) {
        let n_threads = self.n_threads.load(Ordering::Relaxed);
        // SAFETY: written before the epoch changed and not again before `pending` reaches zero.
        let job = unsafe { *self.job.get() };
        if let Some(job) = job {
            // SAFETY: `run` keeps the closure alive until this worker decrements `pending` below.
            let f = unsafe { &*job };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(idx, n_threads))) {
                lock(&self.panic).get_or_insert(payload);
            }
        }
        if self.pending.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
            drop(lock(&self.sleep));
            self.wake_caller.notify_one();
        }
    }

    fn wait_for_epoch_after(&self, seen: usize) -> usize {
        let changed = || {
            let now = self.epoch.load(Ordering::Acquire);
            (now != seen).then_some(now)
        };
        if let Some(now) = spin_until(changed) {
            return now;
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.sleep);
        while self.epoch.load(Ordering::SeqCst) == seen {
            guard = self
                .wake_workers
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.epoch.load(Ordering::SeqCst)
    }

    fn wait_for_workers(&self) {
        let done = || (self.pending.load(Ordering::Acquire) == 0).then_some(());
        if spin_until(done).is_some() {
            return;
        }
        self.caller_sleeps.store(true, Ordering::SeqCst);
        let mut guard = lock(&self.sleep);
        while self.pending.load(Ordering::SeqCst) != 0 {
            guard = self
                .wake_caller
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }
}

/// A panic while holding one of our locks leaves nothing half done, so poison carries no news.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spin_until<T>(ready: impl Fn() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        for _ in 0..SPINS_PER_LOOK {
            if let Some(value) = ready() {
                return Some(value);
            }
            std::hint::spin_loop();
        }
        if start.elapsed() >= SPIN {
            return None;
        }
    }
}

#[cfg(test)]
mod tests;
