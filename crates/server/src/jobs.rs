//! Documents being taken in: one thread, one bounded queue, a board that the page watches.
//!
//! The same thread goes on with an ingest that was cut off, makes vectors in the background when nobody waits for
//! an answer, and comes back to queued files when a full disk has room again.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use assistant::Assistant;
use knowledge::{Accepted, Followed, Go, IngestEvent, IngestReport, Reader, StoreError};
use tokio::sync::{broadcast, mpsc};

use crate::wire::{IngestEventJson, IngestJson, JobJson, JobState, JobsJson, SCHEMA};

/// Jobs that may wait; one more gets a 429.
const N_WAITING_MAX: usize = 1000;
/// Jobs the board remembers.
const N_REMEMBERED: usize = 200;
/// Updates a slow watcher may be behind before it is given the whole board again.
const N_UPDATES_BUFFERED: usize = 256;
/// Passages embedded between two looks at the queue.
const N_EMBEDDED_AT_ONCE: usize = 8;
/// How often the queue of an ingest that was cut off is looked at.
const RESUME_EVERY: Duration = Duration::from_secs(30);
/// How long the thread waits before it looks again whether questions are being answered.
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// What the follower of a job hears.
#[derive(Debug)]
pub(crate) enum JobEvent {
    /// Progress.
    Progress(IngestEventJson),
    /// The end.
    Done(IngestJson),
    /// The store refused.
    Failed(String),
}

struct Job {
    id: u64,
    paths: Vec<PathBuf>,
    /// Whether files set aside are tried again.
    retry: bool,
    /// The number of an accepted file.
    accepted: Option<i64>,
    follower: Option<mpsc::UnboundedSender<JobEvent>>,
}

impl Job {
    fn of(id: u64, order: Order, follower: Option<mpsc::UnboundedSender<JobEvent>>) -> Self {
        Self {
            id,
            paths: order.paths,
            retry: order.retry,
            accepted: order.accepted,
            follower,
        }
    }
}

/// What the thread does for others.
enum Work {
    /// Takes paths in, shown on the board.
    Ingest(Job),
    /// Takes in what changed in watched folders; happens all the time and is not shown.
    Follow {
        changes: Vec<PathBuf>,
        rest: Duration,
        answer: SyncSender<Followed>,
    },
}

/// What is to be taken in.
pub(crate) struct Order {
    /// For people.
    pub(crate) name: String,
    /// 0 where not known yet.
    pub(crate) bytes: u64,
    pub(crate) paths: Vec<PathBuf>,
    /// Whether files set aside are tried again.
    pub(crate) retry: bool,
    /// The number of an accepted file, which is forgotten when it is taken in.
    pub(crate) accepted: Option<i64>,
}

impl Order {
    /// To take in a file that was accepted.
    pub(crate) fn of_accepted(accepted: Accepted) -> Self {
        Self {
            name: accepted.name,
            bytes: accepted.bytes,
            paths: vec![accepted.path],
            retry: false,
            accepted: Some(accepted.id),
        }
    }
}

#[derive(Default)]
struct Board {
    next_id: u64,
    jobs: VecDeque<JobJson>,
    /// Who submitted each job.
    owners: BTreeMap<u64, Reader>,
}

struct Inner {
    board: Mutex<Board>,
    updates: broadcast::Sender<JobJson>,
    stopping: AtomicBool,
    waiting: AtomicUsize,
    /// Questions being answered now; vectors wait for them.
    answering: AtomicUsize,
    /// Another thread found that passages may lack vectors.
    vectors_wanted: AtomicBool,
}

/// The queue and its thread.
pub(crate) struct Jobs {
    inner: Arc<Inner>,
    queue: Mutex<Option<SyncSender<Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Held while a question is answered.
pub(crate) struct Answering(Arc<Inner>);

/// Whether work in the background may go on.
pub(crate) struct Patience(Arc<Inner>);

impl Patience {
    /// Waits while questions are being answered; says to stop when the server ends.
    pub(crate) fn let_questions_go_first(&self) -> Go {
        loop {
            if self.0.stopping() {
                return Go::Stop;
            }
            if self.0.answering.load(Ordering::Relaxed) == 0 {
                return Go::On;
            }
            std::thread::sleep(BUSY_WAIT);
        }
    }

    /// Says that passages may lack vectors.
    pub(crate) fn want_vectors(&self) {
        self.0.vectors_wanted.store(true, Ordering::Relaxed);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Jobs {
    pub(crate) fn start(assistant: Arc<Assistant>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(N_WAITING_MAX);
        let inner = Arc::new(Inner {
            board: Mutex::default(),
            updates: broadcast::channel(N_UPDATES_BUFFERED).0,
            stopping: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            vectors_wanted: AtomicBool::new(false),
        });
        let worker = Worker {
            inner: Arc::clone(&inner),
            assistant,
            vectors_pending: true,
            put_off: Vec::new(),
        };
        // Before anything arrives anew, for what had arrived and was not accepted is cleared away.
        let accepted = worker.accepted_before();
        let thread = std::thread::Builder::new()
            .name("ingest".into())
            .spawn(move || worker.run(accepted, &receiver))?;
        Ok(Self {
            inner,
            queue: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues paths; `None` if the queue is full or the server is stopping.
    pub(crate) fn submit(
        &self,
        owner: &Reader,
        order: Order,
        follower: Option<mpsc::UnboundedSender<JobEvent>>,
    ) -> Option<JobJson> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.as_ref()?;
        let job = self.inner.add(owner, order.name.clone(), order.bytes);
        let work = Work::Ingest(Job::of(job.id, order, follower));
        self.inner.waiting.fetch_add(1, Ordering::Relaxed);
        match sender.try_send(work) {
            Ok(()) => Some(job),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
                self.inner.forget(job.id);
                None
            }
        }
    }

    /// Takes in what changed and waits for it; `None` if that failed or the server is stopping.
    pub(crate) fn follow(&self, changes: Vec<PathBuf>, rest: Duration) -> Option<Followed> {
        let (answer, followed) = sync_channel(1);
        let sender = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let work = Work::Follow {
            changes,
            rest,
            answer,
        };
        // Waits where the queue is full: whoever watches has nothing else to do.
        sender.send(work).ok()?;
        drop(sender);
        followed.recv().ok()
    }

    pub(crate) fn n_waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::Relaxed)
    }

    /// What a reader may see of the board, newest first.
    pub(crate) fn list(&self, reader: &Reader) -> JobsJson {
        let board = self.inner.board();
        let jobs = board
            .jobs
            .iter()
            .rev()
            .filter(|job| board.is_shown(reader, job.id));
        JobsJson {
            schema: SCHEMA,
            jobs: jobs.cloned().collect(),
        }
    }

    /// Whether a reader may see a job: files have names, and names tell.
    pub(crate) fn is_shown(&self, reader: &Reader, id: u64) -> bool {
        self.inner.board().is_shown(reader, id)
    }

    /// Every change from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<JobJson> {
        self.inner.updates.subscribe()
    }

    /// Says that a question is being answered, until the guard is dropped.
    pub(crate) fn answering(&self) -> Answering {
        self.inner.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(&self.inner))
    }

    /// For other work in the background, which waits for questions as vectors do.
    pub(crate) fn patience(&self) -> Patience {
        Patience(Arc::clone(&self.inner))
    }

    /// Stops after the file in work; what is queued stays in the store's own queue or on the caller's side.
    pub(crate) fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that takes in documents has panicked");
        }
    }
}

impl Board {
    /// To those with the same rights as whoever submitted it, and to a keeper.
    fn is_shown(&self, reader: &Reader, id: u64) -> bool {
        reader.is_keeper() || self.owners.get(&id) == Some(reader)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, owner: &Reader, name: String, bytes: u64) -> JobJson {
        let mut board = self.board();
        board.next_id += 1;
        let job = JobJson {
            id: board.next_id,
            name,
            state: JobState::Queued,
            bytes,
            files_done: 0,
            files: 1,
            reason: None,
        };
        board.owners.insert(job.id, owner.clone());
        board.jobs.push_back(job.clone());
        while board.jobs.len() > N_REMEMBERED.max(self.waiting.load(Ordering::Relaxed) + 1) {
            if let Some(gone) = board.jobs.pop_front() {
                board.owners.remove(&gone.id);
            }
        }
        drop(board);
        let _ = self.updates.send(job.clone());
        job
    }

    fn forget(&self, id: u64) {
        let mut board = self.board();
        board.jobs.retain(|job| job.id != id);
        board.owners.remove(&id);
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut JobJson)) {
        let mut board = self.board();
        let Some(job) = board.jobs.iter_mut().find(|job| job.id == id) else {
            return;
        };
        change(job);
        let job = job.clone();
        drop(board);
        let _ = self.updates.send(job);
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

struct Worker {
    inner: Arc<Inner>,
    assistant: Arc<Assistant>,
    vectors_pending: bool,
    /// Accepted files for which there was no room.
    put_off: Vec<Job>,
}

impl Worker {
    fn run(mut self, accepted: Vec<Job>, queue: &Receiver<Work>) {
        // Whoever asks goes first, also on a machine of few cores.
        stdx::process::give_way();
        for job in accepted {
            if self.inner.stopping() {
                return;
            }
            self.ingest(job);
        }
        self.resume();
        loop {
            let wait = if self.vectors_pending {
                Duration::ZERO
            } else {
                RESUME_EVERY
            };
            match queue.recv_timeout(wait) {
                Ok(Work::Ingest(job)) => {
                    self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.ingest(job);
                }
                Ok(Work::Follow {
                    changes,
                    rest,
                    answer,
                }) => self.follow(&changes, rest, &answer),
                Err(RecvTimeoutError::Timeout) if self.vectors_pending => self.embed(),
                Err(RecvTimeoutError::Timeout) => self.resume(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.inner.stopping() {
                return;
            }
        }
    }

    /// What an earlier process accepted, and said so, and did not take in.
    fn accepted_before(&self) -> Vec<Job> {
        let accepted = self.assistant.store().accepted_before().unwrap_or_else(|error| {
            tracing::error!("accepted files wait: {}", crate::error::chain(&error));
            Vec::new()
        });
        let shown = accepted.into_iter().map(|accepted| {
            let name = accepted.name.clone();
            let shown = self.inner.add(&accepted.owner, name, accepted.bytes);
            Job::of(shown.id, Order::of_accepted(accepted), None)
        });
        shown.collect()
    }

    fn follow(&mut self, changes: &[PathBuf], rest: Duration, answer: &SyncSender<Followed>) {
        let inner = &self.inner;
        let mut on_event = |_: IngestEvent| if inner.stopping() { Go::Stop } else { Go::On };
        match self.assistant.store().follow(changes, rest, &mut on_event) {
            Ok(followed) => {
                let report = &followed.report;
                if report.added + report.changed + report.removed + report.moved > 0 {
                    tracing::info!(
                        added = report.added,
                        changed = report.changed,
                        removed = report.removed,
                        moved = report.moved,
                        "watched folders changed"
                    );
                    self.vectors_pending = self.assistant.embedder().is_some();
                }
                for failed in &report.failed {
                    tracing::warn!("not taken in: `{}`: {}", failed.path, failed.reason);
                }
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
                // Nobody waits any more when the watch has ended.
                let _ = answer.send(followed);
            }
            Err(error) => tracing::error!("watched folders wait: {}", crate::error::chain(&error)),
        }
    }

    fn ingest(&mut self, work: Job) {
        self.inner.update(work.id, |job| job.state = JobState::Running);
        let mut on_event = |event: IngestEvent| self.progress(&work, &event);
        let store = self.assistant.store();
        let ready = if work.retry {
            store.retry_set_aside()
        } else {
            Ok(())
        };
        let result = ready.and_then(|()| store.ingest(&work.paths, &mut on_event));
        self.vectors_pending = self.assistant.embedder().is_some();
        if let (Some(id), Ok(_), false) = (work.accepted, &result, self.inner.stopping())
            && let Err(error) = store.forget_accepted(id)
        {
            // The next start takes it in once more, which changes nothing.
            tracing::warn!(
                "an accepted file is not forgotten: {}",
                crate::error::chain(&error)
            );
        }
        let lacked_room = result.as_ref().is_err_and(StoreError::is_no_space);
        self.finish(&work, result);
        if lacked_room && work.accepted.is_some() {
            self.put_off.push(work);
        }
    }

    fn progress(&self, work: &Job, event: &IngestEvent) -> Go {
        self.inner.update(work.id, |job| match event {
            IngestEvent::Planned { files, bytes } => {
                job.files = *files;
                job.bytes = job.bytes.max(*bytes);
            }
            IngestEvent::Reading { .. } | IngestEvent::Writing { .. } | IngestEvent::Waiting { .. } => {}
            IngestEvent::Finished { .. } => job.files_done += 1,
        });
        let heard = work
            .follower
            .as_ref()
            .is_none_or(|follower| follower.send(JobEvent::Progress(event.into())).is_ok());
        if heard && !self.inner.stopping() {
            Go::On
        } else {
            Go::Stop
        }
    }

    fn finish(&self, work: &Job, result: Result<IngestReport, StoreError>) {
        let end = match result {
            Ok(report) => {
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
                let reason = failure(&report);
                self.inner.update(work.id, |job| {
                    job.state = if reason.is_some() {
                        JobState::Failed
                    } else {
                        JobState::Done
                    };
                    job.reason = reason;
                });
                JobEvent::Done(IngestJson::from(&report))
            }
            Err(error) => {
                let reason = crate::error::chain(&error);
                tracing::error!("ingest failed: {reason}");
                self.inner.update(work.id, |job| {
                    job.state = JobState::Failed;
                    job.reason = Some(reason.clone());
                });
                JobEvent::Failed(reason)
            }
        };
        if let Some(follower) = &work.follower {
            let _ = follower.send(end);
        }
    }

    /// Goes on with files that an earlier process, or a full disk, left in the store's queue.
    fn resume(&mut self) {
        if self.inner.vectors_wanted.swap(false, Ordering::Relaxed) {
            self.vectors_pending = self.assistant.embedder().is_some();
        }
        for job in std::mem::take(&mut self.put_off) {
            self.ingest(job);
        }
        let store = self.assistant.store();
        match store.view(&Reader::keeper()).and_then(|view| view.status()) {
            Ok(status) if status.queued > 0 => {}
            _ => return,
        }
        let inner = &self.inner;
        let mut on_event = |_: IngestEvent| if inner.stopping() { Go::Stop } else { Go::On };
        match store.resume(&mut on_event) {
            Ok(report) => {
                tracing::info!(
                    added = report.added,
                    changed = report.changed,
                    "went on with queued files"
                );
                self.vectors_pending = self.assistant.embedder().is_some();
            }
            Err(error) => tracing::warn!("queued files still wait: {}", crate::error::chain(&error)),
        }
    }

    fn embed(&mut self) {
        let Some(embedder) = self.assistant.embedder() else {
            self.vectors_pending = false;
            return;
        };
        if self.inner.answering.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(BUSY_WAIT);
            return;
        }
        match self
            .assistant
            .store()
            .embed_pending(embedder.as_ref(), N_EMBEDDED_AT_ONCE)
        {
            Ok(remaining) => self.vectors_pending = remaining > 0,
            Err(error) => {
                tracing::warn!("vectors could not be made: {}", crate::error::chain(&error));
                self.vectors_pending = false;
            }
        }
    }
}

/// Why nothing came of an ingest, if nothing did.
fn failure(report: &IngestReport) -> Option<String> {
    let taken = report.added + report.changed + report.unchanged + report.moved;
    match report.failed.as_slice() {
        [] => None,
        [only] if taken == 0 => Some(only.reason.clone()),
        [first, rest @ ..] if taken == 0 => {
            Some(format!("{} (and {} more files failed)", first.reason, rest.len()))
        }
        _ => None,
    }
}
