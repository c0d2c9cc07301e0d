//! What others in this process have the server's store take in: changes of watched folders, and folders that they filled.
//!
//! Everything goes through the one queue of [`crate::jobs`], between what people upload.

use std::path::PathBuf;
use std::time::Duration;

use knowledge::{Followed, Reader};
use tokio::sync::mpsc;

use crate::jobs::{JobEvent, Order};
use crate::state::App;
use crate::wire::IngestJson;

/// A way into the server's queue, for threads that may wait.
#[derive(Clone)]
pub struct Intake(App);

impl App {
    /// A way into its queue.
    pub fn intake(&self) -> Intake {
        Intake(self.clone())
    }
}

impl Intake {
    /// Takes in what changed in watched folders, see [`knowledge::Store::follow`]; `None` if that failed (it is logged)
    /// or the server is stopping.
    pub fn follow(&self, changes: Vec<PathBuf>, rest: Duration) -> Option<Followed> {
        self.0.jobs.follow(changes, rest)
    }

    /// Takes in a file or folder, shown under `name` to whoever may see everything.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn ingest(&self, name: &str, path: PathBuf) -> Result<IngestJson, String> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let order = Order {
            name: name.to_owned(),
            bytes: 0,
            paths: vec![path],
            retry: false,
            accepted: None,
        };
        let submitted = self.0.jobs.submit(&Reader::keeper(), order, Some(sender));
        if submitted.is_none() {
            return Err("the queue is full or the server is ending".to_owned());
        }
        while let Some(event) = events.blocking_recv() {
            match event {
                JobEvent::Progress(_) => {}
                JobEvent::Done(report) => return Ok(report),
                JobEvent::Failed(reason) => return Err(reason),
            }
        }
        Err("the server is ending; what was not taken in stays queued".to_owned())
    }
}
