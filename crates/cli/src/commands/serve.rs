//! `hanok serve`: the page and the HTTP interface, until Ctrl-C or SIGTERM.

use std::net::SocketAddr;
use std::sync::Arc;

use assistant::Assistant;
use knowledge::{Access, Store};
use serde::Serialize;
use server::{App, AppConfig, Bound, ServeConfig, ServeError};

use crate::exit::{Failure, OrFail, Result, chain};
use crate::settings::{Settings, Source};
use crate::upkeep::Upkeep;
use crate::{house, print};

#[derive(Serialize)]
struct ServingJson {
    schema: u32,
    address: String,
    url: String,
    data_dir: String,
}

/// Runs the command.
pub(crate) fn run(settings: &Settings, json: bool) -> Result<()> {
    let store = Arc::new(house::open(settings, Access::Write)?);
    let engine = house::engine_or_quotes(settings)?;
    house::use_reranker(settings, &store)?;
    let embedders = house::Embedders::of(settings, &store)?;
    let assistant = Assistant::new(store, engine, embedders.present).with_next_embedder(embedders.next);
    let assistant = Arc::new(assistant);
    let say = if json { Say::Json } else { Say::Words };
    serve(settings, assistant, say)
}

/// How the address is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    /// A line on stdout.
    Words,
    /// An object on stdout.
    Json,
    /// A line on stderr, because stdout has its one object already.
    Aside,
}

impl Say {
    /// For a command that has printed its result before it serves.
    pub(crate) fn after_result(json: bool) -> Self {
        if json { Self::Aside } else { Self::Words }
    }
}

/// Serves an assistant at the configured address; a free port instead of the default one if that is taken.
pub(crate) fn serve(settings: &Settings, assistant: Arc<Assistant>, how: Say) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start the server: {error}")))?;
    let served = runtime.block_on(async {
        let bound = bind(settings, Arc::clone(&assistant)).await?;
        let _upkeep = Upkeep::start(settings, &assistant, &bound.intake())?;
        say(settings, &bound, how)?;
        bound.run(ended()).await.or_environment()
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    served
}

async fn bind(settings: &Settings, assistant: Arc<Assistant>) -> Result<Bound> {
    let mut config = AppConfig::new(assistant, settings.data_dir.join("uploads"));
    config.token.clone_from(&settings.token);
    config.rights.clone_from(&settings.reader);
    config.refusals = settings.refusals;
    if let Some(path) = &settings.callers {
        config.callers = crate::callers::read(path)?;
    }
    let app = App::new(config).or_environment()?;
    let at = |port| ServeConfig {
        address: SocketAddr::new(settings.address, port),
        data_dir: Some(settings.data_dir.clone()),
    };
    match server::bind(app.clone(), at(settings.port)).await {
        Err(ServeError::Bind { source, .. })
            if source.kind() == std::io::ErrorKind::AddrInUse
                && settings.source("port") == Source::Default =>
        {
            print::stderr_line(&format!("port {} is taken; taking a free one", settings.port));
            server::bind(app, at(0)).await.map_err(|error| not_bound(&error))
        }
        other => other.map_err(|error| not_bound(&error)),
    }
}

fn not_bound(error: &ServeError) -> Failure {
    match error {
        ServeError::TokenNeeded(_) => Failure::misuse(error.to_string())
            .hint("set HANOK_TOKEN to a secret that clients must send, or leave the address at 127.0.0.1"),
        ServeError::Bind { .. } => {
            Failure::environment(chain(error)).hint("choose another port with `--port`, or 0 for a free one")
        }
        _ => Failure::environment(chain(error)),
    }
}

fn say(settings: &Settings, bound: &Bound, how: Say) -> Result<()> {
    let address = bound.address();
    let url = format!("http://{address}/");
    let words = format!("serving at {url}  (Ctrl-C ends)");
    match how {
        Say::Words => print::line(&words),
        Say::Json => print::json(&ServingJson {
            schema: 1,
            address: address.to_string(),
            url,
            data_dir: settings.data_dir.display().to_string(),
        }),
        Say::Aside => {
            print::stderr_line(&words);
            Ok(())
        }
    }
}

/// Completes on Ctrl-C or SIGTERM.
async fn ended() {
    let kind = tokio::signal::unix::SignalKind::terminate();
    match tokio::signal::unix::signal(kind) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
    print::stderr_line("ending: answers under way are finished first");
}

/// The store of a data directory for a server.
pub(crate) fn open_store(settings: &Settings) -> Result<Arc<Store>> {
    house::open(settings, Access::Write).map(Arc::new)
}
