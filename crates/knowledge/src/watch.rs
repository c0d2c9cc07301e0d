//! Watching the remembered folders: the kernel says what changed, a look at everything now and then finds what it missed.
//!
//! One thread. A path is handed on when nothing has been heard of it and its size and times have stood still for a
//! while, so a file that is being written is not read. Everything is looked at again at the start, at a set interval,
//! after the kernel has dropped events, and after more changes at once than are worth remembering one by one.
//!
//! Nothing is taken in here: whoever starts the watch is handed the paths and calls [`Store::follow`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use stdx::clock::Stopwatch;
use stdx::fs;

use crate::catalog::Stat;
use crate::store::{Store, held};
use crate::sync::{Followed, change_in};
use crate::walk::stat_of;

/// More changed paths than this are forgotten for a look at everything.
const PATHS_MAX: usize = 10_000;
/// At least this long lies between two looks at everything that nobody has planned.
const LOOK_GAP: Duration = Duration::from_secs(30);
/// How often the thread sees whether there are other folders now.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// How a watch is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchConfig {
    /// How long a file must stand still before it is read.
    pub rest: Duration,
    /// How often everything is looked at.
    pub every: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            rest: Duration::from_secs(2),
            every: Duration::from_mins(15),
        }
    }
}

/// Takes changed paths in; `None` if that failed and is to be tried again.
pub type Follow = Box<dyn FnMut(Vec<PathBuf>) -> Option<Followed> + Send>;

/// A running watch; ends when dropped.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to watch the folders that the store remembers, now and from now on.
    ///
    /// # Errors
    /// When there is no thread for it. Where the kernel lends no watches, the folders are looked at now and then.
    pub fn start(store: Arc<Store>, config: WatchConfig, follow: Follow) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut keeper = Keeper {
            own: store.dir().to_owned(),
            kernel: kernel_watcher(&shared),
            shared: Arc::clone(&shared),
            store,
            config,
            follow,
            clock: Stopwatch::start(),
            resting: BTreeMap::new(),
            next_look_ms: 0.0,
            last_look_ms: f64::NEG_INFINITY,
            folders_seen: None,
            folders: Vec::new(),
            complained: false,
        };
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || keeper.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        held(&self.shared.heard).stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches folders has panicked");
        }
    }
}

/// What the kernel's thread tells ours.
#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    wake: Condvar,
}

#[derive(Default)]
struct Heard {
    paths: Vec<PathBuf>,
    /// Something was missed: everything must be looked at.
    missed: bool,
    /// The kernel lends no more watches.
    out_of_watches: bool,
    folders: Vec<PathBuf>,
    stop: bool,
}

impl Shared {
    fn note(&self, event: notify::Result<Event>) {
        let mut heard = held(&self.heard);
        match event {
            Ok(event) if event.need_rescan() => heard.missed = true,
            Ok(event) => {
                let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
                // Reading changes nothing, and we read much ourselves.
                if event.kind.is_access() && event.kind != written {
                    return;
                }
                for path in event.paths {
                    if !heard.folders.iter().any(|f| change_in(f, &path).is_some()) {
                        continue;
                    }
                    if heard.paths.len() < PATHS_MAX {
                        heard.paths.push(path);
                    } else if heard.paths.last() != Some(&path) {
                        heard.missed = true;
                    }
                }
            }
            Err(error) => {
                heard.missed = true;
                heard.out_of_watches |= matches!(error.kind, notify::ErrorKind::MaxFilesWatch);
            }
        }
        drop(heard);
        self.wake.notify_all();
    }
}

fn kernel_watcher(shared: &Arc<Shared>) -> Option<RecommendedWatcher> {
    let shared = Arc::clone(shared);
    let config = notify::Config::default().with_follow_symlinks(false);
    let watcher = RecommendedWatcher::new(move |event| shared.note(event), config);
    watcher
        .inspect_err(|error| {
            tracing::warn!("the system lends no watches ({error}); folders are looked at now and then");
        })
        .ok()
}

/// A path that is waited for.
struct Resting {
    /// What it was when it was last looked at; `None` if it was not there.
    seen: Option<Stat>,
    /// Since when nothing has happened to it.
    since_ms: f64,
}

struct Keeper {
    store: Arc<Store>,
    own: PathBuf,
    config: WatchConfig,
    follow: Follow,
    shared: Arc<Shared>,
    kernel: Option<RecommendedWatcher>,
    clock: Stopwatch,
    resting: BTreeMap<PathBuf, Resting>,
    next_look_ms: f64,
    last_look_ms: f64,
    folders_seen: Option<u64>,
    folders: Vec<PathBuf>,
    complained: bool,
}

impl Keeper {
    fn run(&mut self) {
        loop {
            if self.listen() {
                return;
            }
            self.take_up_new_folders();
            if self.clock.ms() >= self.next_look_ms {
                self.look_at_everything();
            }
            let ready = self.ready();
            if !ready.is_empty() && (self.follow)(ready).is_none() {
                self.look_soon();
            }
        }
    }

    /// Waits for events or for the time to look again; true if the watch is to end.
    fn listen(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut heard = held(&shared.heard);
        if !heard.stop && heard.paths.is_empty() && !heard.missed {
            let wait = if self.resting.is_empty() {
                let until_look =
                    (self.next_look_ms - self.clock.ms()).clamp(0.0, IDLE_TICK.as_secs_f64() * 1e3);
                Duration::from_secs_f64(until_look / 1e3)
            } else {
                (self.config.rest / 4).max(Duration::from_millis(5))
            };
            heard = match shared.wake.wait_timeout(heard, wait) {
                Ok((heard, _)) => heard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let paths = std::mem::take(&mut heard.paths);
        let missed = std::mem::take(&mut heard.missed);
        let out_of_watches = std::mem::take(&mut heard.out_of_watches);
        let stop = heard.stop;
        drop(heard);
        if out_of_watches {
            self.complain();
        }
        let n_waiting = paths.len();
        for path in paths {
            self.touch(path);
        }
        if missed || self.resting.len() > PATHS_MAX {
            self.resting.clear();
            self.look_soon();
        } else if n_waiting > 0 && !stop {
            // A burst comes in many small portions; one look at each path serves all of them.
            std::thread::sleep((self.config.rest / 20).min(Duration::from_millis(50)));
        }
        stop
    }

    fn touch(&mut self, path: PathBuf) {
        if path.starts_with(&self.own) {
            return;
        }
        let since_ms = self.clock.ms();
        let seen = stat(&path);
        self.resting.insert(path, Resting { seen, since_ms });
    }

    /// Takes out the paths that have come to rest.
    fn ready(&mut self) -> Vec<PathBuf> {
        let now_ms = self.clock.ms();
        let rest_ms = self.config.rest.as_secs_f64() * 1e3;
        let mut ready = Vec::new();
        for (path, resting) in &mut self.resting {
            let present = stat(path);
            if present != resting.seen {
                resting.seen = present;
                resting.since_ms = now_ms;
            } else if now_ms - resting.since_ms >= rest_ms {
                ready.push(path.clone());
            }
        }
        for path in &ready {
            self.resting.remove(path);
        }
        ready
    }

    /// Watches folders that were remembered since the last time, and looks at them once: between an ingest and the
    /// beginning of the watch something may have changed.
    fn take_up_new_folders(&mut self) {
        let changes = self.store.folders_changed.load(Relaxed);
        if self.folders_seen == Some(changes) {
            return;
        }
        let folders = match self.store.folders() {
            Ok(folders) => folders,
            Err(error) => {
                tracing::warn!("the folders to watch cannot be listed: {error}");
                return;
            }
        };
        let is_start = self.folders_seen.is_none();
        self.folders_seen = Some(changes);
        held(&self.shared.heard).folders.clone_from(&folders);
        let before = std::mem::replace(&mut self.folders, folders);
        for folder in before.iter().filter(|folder| !self.folders.contains(folder)) {
            if let Some(kernel) = &mut self.kernel {
                // It may have gone by itself.
                let _ = kernel.unwatch(folder);
            }
        }
        if is_start {
            // The first look at everything watches them.
            return;
        }
        let fresh: Vec<PathBuf> = self
            .folders
            .iter()
            .filter(|folder| !before.contains(folder))
            .cloned()
            .collect();
        self.watch(&fresh);
        if !fresh.is_empty() {
            self.hand_on(fresh);
        }
    }

    /// Asks the kernel to watch folders. One that is watched already is watched afterwards, too.
    fn watch(&mut self, folders: &[PathBuf]) {
        let mut out_of_watches = false;
        if let Some(kernel) = &mut self.kernel {
            for folder in folders {
                match kernel.watch(folder, RecursiveMode::Recursive) {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                        out_of_watches = true;
                    }
                    Err(error) => {
                        tracing::warn!(folder = %folder.display(), "cannot be watched now: {error}");
                    }
                }
            }
        }
        if out_of_watches {
            self.complain();
        }
    }

    fn complain(&mut self) {
        if !std::mem::replace(&mut self.complained, true) {
            let minutes = self.config.every.as_secs().div_ceil(60);
            tracing::warn!(
                "the system lends no more watches, so some changes are seen only when everything is looked at, every \
                 {minutes} min; raise fs.inotify.max_user_watches"
            );
        }
    }

    fn look_at_everything(&mut self) {
        let folders = self.folders.clone();
        self.watch(&folders);
        // What changes from here on is heard of.
        self.resting.clear();
        let done = folders.is_empty() || self.hand_on(folders);
        self.last_look_ms = self.clock.ms();
        self.next_look_ms = self.last_look_ms + self.config.every.as_secs_f64() * 1e3;
        if !done {
            self.look_soon();
        }
    }

    /// Hands whole folders on; files in them that may still be written are waited for.
    fn hand_on(&mut self, folders: Vec<PathBuf>) -> bool {
        let Some(followed) = (self.follow)(folders) else {
            return false;
        };
        for path in followed.unsettled {
            self.touch(path);
        }
        true
    }

    /// Looks at everything as soon as the last time is long enough ago.
    fn look_soon(&mut self) {
        let gap_ms = LOOK_GAP.min(self.config.every).as_secs_f64() * 1e3;
        let at_ms = (self.last_look_ms + gap_ms).max(self.clock.ms());
        self.next_look_ms = self.next_look_ms.min(at_ms);
    }
}

fn stat(path: &Path) -> Option<Stat> {
    fs::symlink_metadata(path).ok().map(|metadata| stat_of(&metadata))
}
