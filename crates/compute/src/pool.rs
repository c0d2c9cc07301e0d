//! Fork-join over a fixed set of threads.
//!
//! One matrix product takes tens of microseconds, so waking threads through the operating system for
//! each would cost more than it gains: workers spin for a moment after each job and sleep only when
//! nothing follows. The caller takes part, and closes the job when nothing is left to do: a worker that
//! has not joined by then, because it sleeps or its core is busy, is not waited for. Not a task
//! scheduler: one job at a time, no queue.
//!
//! * Callers on different threads take turns.
//! * A job that uses the pool again runs that inner job alone on its own thread.
//! * A panic in any thread is raised again in the caller, after every thread has left the job.

#![expect(
    unsafe_code,
    reason = "a borrowed closure is lent to threads that outlive the borrow"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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

type Job = dyn Fn() + Sync;

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
    /// Number of the job, whether it is closed, and how many workers are inside; see [`Gate`].
    gate: AtomicU64,
    job: UnsafeCell<Option<*const Job>>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    sleep: Mutex<()>,
    wake_workers: Condvar,
    wake_caller: Condvar,
}

/// A reading of the gate: bits 32.. number the job (wrapping), bit 31 closes it, the rest count.
#[derive(Clone, Copy)]
struct Gate(u64);

impl Gate {
    const CLOSED: u64 = 1 << 31;

    fn number(self) -> u64 {
        self.0 >> 32
    }

    fn is_closed(self) -> bool {
        self.0 & Self::CLOSED != 0
    }

    fn inside(self) -> u64 {
        self.0 & (Self::CLOSED - 1)
    }

    /// The next job, open and empty.
    fn next(self) -> Self {
        Self((self.number() + 1) << 32)
    }
}

// SAFETY: `job` is written only by the caller holding `turn` while the gate is closed and empty, and read
// only by workers that have passed the open gate, which the caller waits to see empty again.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer is used only under the protocol above.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, the caller included; 0 counts as 1. If the system refuses more
    /// threads the pool is smaller.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(Gate::CLOSED),
            job: UnsafeCell::new(None),
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
                    .spawn(move || shared.work())
                    .ok()
            })
            .collect();
        Self {
            shared,
            workers,
            turn: Mutex::new(()),
        }
    }

    /// How many threads can take part in a job.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(share_idx, n_shares)` once for each of [`Pool::threads`] shares and returns when all have
    /// finished. Shares usually run at the same time, but a thread may take several: they must not wait
    /// for each other. Inside another job there is one share.
    ///
    /// # Panics
    /// Raises again the first panic of any share.
    pub fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        if self.is_alone() {
            return f(0, 1);
        }
        let n_shares = self.threads();
        self.for_each(n_shares, |idx| f(idx, n_shares));
    }

    /// Calls `f` with disjoint ranges that cover `0..n_items`, each of at least `min_chunk` items but
    /// the last. Threads take the next range as they finish one.
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn for_each_chunk(&self, n_items: usize, min_chunk: usize, f: impl Fn(Range<usize>) + Sync) {
        let even = n_items.div_ceil(self.threads() * CHUNKS_PER_THREAD);
        let chunk = even.max(min_chunk).max(1);
        let f = |i: usize| f(i * chunk..((i + 1) * chunk).min(n_items));
        if chunk >= n_items {
            (0..n_items.div_ceil(chunk)).for_each(f)
        } else {
            self.for_each(n_items.div_ceil(chunk), f)
        }
    }

    /// Calls `f` once with each of `0..n`, in this order as threads become free.
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn for_each(&self, n: usize, f: impl Fn(usize) + Sync) {
        let next = AtomicUsize::new(0);
        self.join_in(&|| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return;
                }
                f(i);
            }
        });
    }

    /// Calls `f`, in which every pool's jobs run on this thread alone: for what should not wait for the others' turn.
    pub fn alone<T>(f: impl FnOnce() -> T) -> T {
        struct Before(bool);
        impl Drop for Before {
            fn drop(&mut self) {
                INSIDE.set(self.0);
            }
        }
        let _before = Before(INSIDE.replace(true));
        f()
    }

    /// Calls `f` here and on every worker that is ready before this call of `f` returns. `f` itself
    /// shares out the work and returns when none is left.
    pub(crate) fn join_in(&self, f: &(dyn Fn() + Sync)) {
        if self.is_alone() {
            return f();
        }
        let turn = lock(&self.turn);
        self.shared.open(f);
        INSIDE.set(true);
        let own = catch_unwind(AssertUnwindSafe(f));
        INSIDE.set(false);
        self.shared.close();
        let theirs = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    fn is_alone(&self) -> bool {
        self.workers.is_empty() || INSIDE.get()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let closed = Gate(self.shared.load_gate().next().0 | Gate::CLOSED);
        self.shared.signal(closed);
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
    fn load_gate(&self) -> Gate {
        Gate(self.gate.load(Ordering::SeqCst))
    }

    /// Lets workers into `f`. The caller must hold `turn` and call `close` before the borrow of `f` ends.
    fn open(&self, f: &(dyn Fn() + Sync)) {
        let borrowed: *const (dyn Fn() + Sync + '_) = f;
        // SAFETY: only the lifetime changes; `close` returns after the last worker has left `f`.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const Job>(borrowed) };
        // SAFETY: the gate is closed and empty, so nobody else touches the cell.
        unsafe { *self.job.get() = Some(job) };
        self.signal(self.load_gate().next());
    }

    /// Sets the gate: a sleeping worker is seen in `sleepers`, or itself sees the new number.
    fn signal(&self, gate: Gate) {
        self.gate.store(gate.0, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.wake_workers.notify_all();
        }
    }

    /// Lets nobody in any more and waits until all are out.
    fn close(&self) {
        self.gate.fetch_or(Gate::CLOSED, Ordering::SeqCst);
        if spin_until(|| (self.load_gate().inside() == 0).then_some(())).is_some() {
            return;
        }
        self.caller_sleeps.store(true, Ordering::SeqCst);
        let mut guard = lock(&self.sleep);
        while self.load_gate().inside() != 0 {
            guard = self
                .wake_caller
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }

    fn work(&self) {
        INSIDE.set(true);
        let mut seen = 0;
        loop {
            seen = self.wait_for_number_after(seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            if self.enter(seen) {
                self.take_part();
            }
        }
    }

    /// Counts this worker in, unless the job is over.
    fn enter(&self, number: u64) -> bool {
        let one_more = |gate| {
            let gate = Gate(gate);
            (gate.number() == number && !gate.is_closed()).then_some(gate.0 + 1)
        };
        self.gate
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    fn take_part(&self) {
        // SAFETY: this worker is inside the gate, so the cell was written before it opened and is not
        // written again before this worker leaves.
        let job = unsafe { *self.job.get() };
        if let Some(job) = job {
            // SAFETY: `join_in` keeps the closure alive until this worker leaves the gate below.
            let f = unsafe { &*job };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
                lock(&self.panic).get_or_insert(payload);
            }
        }
        let before = Gate(self.gate.fetch_sub(1, Ordering::SeqCst));
        if before.inside() == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
            drop(lock(&self.sleep));
            self.wake_caller.notify_one();
        }
    }

    fn wait_for_number_after(&self, seen: u64) -> u64 {
        let changed = || {
            let number = self.load_gate().number();
            (number != seen).then_some(number)
        };
        if let Some(number) = spin_until(changed) {
            return number;
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.sleep);
        let number = loop {
            if let Some(number) = changed() {
                break number;
            }
            guard = self
                .wake_workers
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        number
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
