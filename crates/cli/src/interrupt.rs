//! Ctrl-C and SIGTERM as a flag that long work looks at between two steps.
//!
//! Not for `serve`, which has its own graceful end, nor for short commands, which a signal simply ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Code, Failure, Result};
use crate::print;

static ASKED: AtomicBool = AtomicBool::new(false);
static HANDED_OVER: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<()> = OnceLock::new();

/// From now on a first Ctrl-C only sets the flag; a second one ends the program at once.
pub(crate) fn install() {
    INSTALLED.get_or_init(|| {
        let listener = std::thread::Builder::new().name("signals".into()).spawn(listen);
        if listener.is_err() {
            tracing::warn!("no thread for signals: Ctrl-C ends the program at once");
        }
    });
}

/// From now on Ctrl-C does nothing in this process. Returns once that is so.
pub(crate) fn ignore() {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let listener = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            let kind = tokio::signal::unix::SignalKind::interrupt();
            let Ok(mut interrupts) = tokio::signal::unix::signal(kind) else {
                return;
            };
            let _ = ready.send(());
            while interrupts.recv().await.is_some() {}
        });
    });
    if listener.is_ok() {
        // An error means that the listener ended: then a signal ends this process, as it would have anyway.
        let _ = is_ready.recv();
    }
}

/// From now on somebody else (the server) acts on signals.
pub(crate) fn hand_over() {
    HANDED_OVER.store(true, Ordering::Relaxed);
}

/// Whether the work shall stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Fails with `left` ("what is queued") if the work shall stop.
pub(crate) fn check(left: &str) -> Result<()> {
    if asked() {
        return Err(Failure::interrupted(format!("stopped: {left}")));
    }
    Ok(())
}

fn listen() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let Ok(mut terminate) = tokio::signal::unix::signal(kind) else {
            return;
        };
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            if HANDED_OVER.load(Ordering::Relaxed) {
                return;
            }
            if ASKED.swap(true, Ordering::Relaxed) {
                end_now();
            }
            print::stderr_line("stopping after the present step (once more: at once)");
        }
    });
}

#[expect(
    clippy::exit,
    reason = "the second Ctrl-C means now; the store commits atomically, so nothing is lost"
)]
fn end_now() -> ! {
    std::process::exit(i32::from(Code::Interrupted as u8))
}
