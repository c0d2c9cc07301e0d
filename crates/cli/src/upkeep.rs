//! Keeping folders and sources in step while the server runs: one thread that watches folders, one that goes round the
//! sources.
//!
//! Neither takes anything in itself: both hand over to the server's queue. What goes wrong is logged by the source's
//! name, and tried again at the next round.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use assistant::Assistant;
use knowledge::watch::{Watch, WatchConfig};
use server::Intake;

use crate::exit::{OrFail, Result};
use crate::settings::{Environment, Settings};
use crate::sources::{self, Mirrored, Spec};

/// Both threads; they end when this is dropped.
pub(crate) struct Upkeep {
    _watch: Option<Watch>,
    _rounds: Option<Rounds>,
}

impl Upkeep {
    /// Starts what the settings ask for.
    pub(crate) fn start(settings: &Settings, assistant: &Assistant, intake: &Intake) -> Result<Self> {
        if !settings.watch {
            if !settings.sources.is_empty() {
                tracing::info!(
                    "sources are not kept in step: `watch` is off; `hanok sync` brings them up to date"
                );
            }
            return Ok(Self {
                _watch: None,
                _rounds: None,
            });
        }
        let config = WatchConfig {
            every: settings.sync_every,
            ..WatchConfig::default()
        };
        let queue = intake.clone();
        let follow = Box::new(move |changes| queue.follow(changes, config.rest));
        let store = Arc::clone(assistant.store());
        let watch = Watch::start(Arc::clone(&store), config, follow).or_environment()?;
        let rounds = if settings.sources.is_empty() {
            None
        } else {
            Some(Rounds::start(settings, store.dir(), intake.clone())?)
        };
        Ok(Self {
            _watch: Some(watch),
            _rounds: rounds,
        })
    }
}

/// The thread that goes round the sources.
struct Rounds {
    ending: Arc<Ending>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Ending {
    flag: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Ending {
    fn is_asked(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    fn wait(&self, duration: Duration) {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .wake
            .wait_timeout_while(held, duration, |()| !self.is_asked());
    }
}

impl Rounds {
    fn start(settings: &Settings, dir: &Path, intake: Intake) -> Result<Self> {
        let ending = Arc::new(Ending::default());
        let mut work = Work {
            // Whatever an earlier process fetched may not have been taken in.
            untaken: settings.sources.iter().map(|spec| spec.name.clone()).collect(),
            sources: settings.sources.clone(),
            environment: settings.environment.clone(),
            dir: dir.to_owned(),
            intake,
            ending: Arc::clone(&ending),
        };
        let every = settings.sync_every;
        let thread = std::thread::Builder::new()
            .name("sources".into())
            .spawn(move || {
                while !work.ending.is_asked() {
                    work.round();
                    work.ending.wait(every);
                }
            })
            .or_environment()?;
        Ok(Self {
            ending,
            thread: Some(thread),
        })
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        {
            let _held = self.ending.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.ending.flag.store(true, Ordering::Relaxed);
        }
        self.ending.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that fetches from sources has panicked");
        }
    }
}

struct Work {
    sources: Vec<Spec>,
    environment: Environment,
    dir: PathBuf,
    intake: Intake,
    ending: Arc<Ending>,
    /// Sources whose copies have yet to be taken in.
    untaken: BTreeSet<String>,
}

impl Work {
    fn round(&mut self) {
        for spec in self.sources.clone() {
            let ending = Arc::clone(&self.ending);
            match sources::mirror(&spec, &self.dir, &self.environment, &|| ending.is_asked()) {
                Ok(done) => self.mirrored(&spec, &done),
                Err(trouble) if !ending.is_asked() => {
                    tracing::warn!(source = spec.name, "not up to date: {}", trouble.sentence());
                }
                Err(_) => {}
            }
            if ending.is_asked() {
                return;
            }
            self.take_in(&spec);
        }
    }

    fn mirrored(&mut self, spec: &Spec, done: &Mirrored) {
        for (address, why) in &done.failed {
            tracing::warn!(source = spec.name, "not fetched: `{address}`: {why}");
        }
        if done.fetched + done.deleted > 0 {
            tracing::info!(
                source = spec.name,
                fetched = done.fetched,
                deleted = done.deleted,
                "fetched"
            );
            self.untaken.insert(spec.name.clone());
        }
    }

    /// Also after a failure: what was fetched before it is complete.
    fn take_in(&mut self, spec: &Spec) {
        let folder = sources::folder_of(spec, &self.dir);
        if !self.untaken.contains(&spec.name) || !folder.is_dir() {
            return;
        }
        match self.intake.ingest(&spec.name, folder) {
            Ok(report) => {
                self.untaken.remove(&spec.name);
                for failed in &report.failed {
                    tracing::warn!(
                        source = spec.name,
                        "not taken in: `{}`: {}",
                        failed.path,
                        failed.reason
                    );
                }
            }
            Err(why) => tracing::warn!(source = spec.name, "fetched, and not taken in yet: {why}"),
        }
    }
}
