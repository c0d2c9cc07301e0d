//! A new index in the background, on a thread of its own: the present one answers, and documents are taken in meanwhile.
//!
//! Begins when the server starts and the index was made otherwise than it would be made now, and when somebody asks.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use assistant::Assistant;
use knowledge::{Go, ReindexProgress, ReindexReport, StoreError};
use tokio::sync::mpsc;

use crate::jobs::Patience;
use crate::wire::{ReindexEventJson, ReindexJson};

/// What the follower of a new index hears.
#[derive(Debug)]
pub(crate) enum ReindexStep {
    /// How far it is.
    Progress(ReindexEventJson),
    /// It is done.
    Done(ReindexJson),
    /// The store refused.
    Failed(String),
}

type Follower = mpsc::UnboundedSender<ReindexStep>;

/// The thread that makes new indexes.
pub(crate) struct Reindexer {
    orders: Mutex<Option<Sender<Follower>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reindexer {
    pub(crate) fn start(assistant: Arc<Assistant>, patience: Patience) -> std::io::Result<Self> {
        let (orders, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("reindex".into())
            .spawn(move || {
                stdx::process::give_way();
                run(&assistant, &patience, &receiver);
            })?;
        Ok(Self {
            orders: Mutex::new(Some(orders)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Has the index made anew where that is needed; `None` if the server is ending.
    pub(crate) fn order(&self) -> Option<mpsc::UnboundedReceiver<ReindexStep>> {
        let (follower, steps) = mpsc::unbounded_channel();
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.as_ref()?.send(follower).ok()?;
        Some(steps)
    }

    /// Waits for the step in work; [`crate::jobs::Jobs::stop`] was called before. The next start goes on with the rest.
    pub(crate) fn stop(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes new indexes has panicked");
        }
    }
}

impl Drop for Reindexer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(assistant: &Assistant, patience: &Patience, orders: &Receiver<Follower>) {
    let mut followers: Vec<Follower> = Vec::new();
    loop {
        let result = make(assistant, patience, orders, &mut followers);
        log(&result);
        for follower in followers.drain(..) {
            // Nobody may be there any more.
            let _ = follower.send(match &result {
                Ok(report) => ReindexStep::Done(report.into()),
                Err(error) => ReindexStep::Failed(crate::error::chain(error)),
            });
        }
        match orders.recv() {
            Ok(follower) => followers.push(follower),
            Err(_) => return,
        }
    }
}

fn make(
    assistant: &Assistant,
    patience: &Patience,
    orders: &Receiver<Follower>,
    followers: &mut Vec<Follower>,
) -> Result<ReindexReport, StoreError> {
    let mut on_progress = |progress: &ReindexProgress| -> Go {
        followers.extend(orders.try_iter());
        let event = ReindexEventJson::Reindex(progress.into());
        // Whoever hung up does not stop it.
        followers.retain(|follower| follower.send(ReindexStep::Progress(event)).is_ok());
        patience.let_questions_go_first()
    };
    let embedder = assistant.wanted_embedder().map(AsRef::as_ref);
    let store = assistant.store();
    let report = if store.makes_indexes() {
        store.reindex(embedder, &mut on_progress)?
    } else {
        // Its vectors take the place of others like any that are missing.
        ReindexReport::default()
    };
    patience.want_vectors();
    Ok(report)
}

fn log(result: &Result<ReindexReport, StoreError>) {
    match result {
        Ok(report) if report.words || report.vectors => tracing::info!(
            words = report.words,
            passages = report.passages,
            vectors = report.vectors,
            kept = report.kept,
            "a new index took the old one's place"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("no new index was made: {}", crate::error::chain(error)),
    }
}
