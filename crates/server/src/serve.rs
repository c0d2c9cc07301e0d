//! Routes, the listening socket, the refusal to listen in public without a token, and the end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::serve::Listener;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use crate::error::ApiError;
use crate::intake::Intake;
use crate::state::App;
use crate::{
    ask, assets, chat, documents, embeddings, guard, http, local, models, page, pictures, quality, upload,
};

/// Bytes of a JSON or form body.
pub(crate) const JSON_BODY_BYTES_MAX: usize = 4 << 20;
/// Connections at once; more wait to be accepted.
const N_CONNECTIONS_MAX: usize = 512;
/// How long answers under way may go on after the signal to end.
const DRAIN: Duration = Duration::from_secs(4);
/// How long a connection may neither send nor take anything. Streams say that they live every few seconds; only a
/// whole answer of a slow model is silent for long.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Pause after a failed accept (too many open files), so that it is not retried in a hot loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why a server did not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A public address without a token.
    #[error("refusing to listen on {0}, which other machines can reach, without a token")]
    TokenNeeded(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The local socket cannot be made.
    #[error(transparent)]
    Local(#[from] local::LocalError),
    /// The listening socket failed.
    #[error("the listening socket failed")]
    Io(#[source] std::io::Error),
}

/// Where and how long to serve.
pub struct ServeConfig {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// The data directory whose local socket other commands use; `None` makes no socket.
    pub data_dir: Option<PathBuf>,
}

/// A server that listens but does not answer yet, so that a caller can print the address first.
pub struct Bound {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
    socket: Option<local::Socket>,
}

/// Refuses a public address without a token, then listens.
///
/// # Errors
/// See [`ServeError`].
pub async fn bind(app: App, config: ServeConfig) -> Result<Bound, ServeError> {
    if !config.address.ip().is_loopback() && !app.needs_token() {
        return Err(ServeError::TokenNeeded(config.address));
    }
    let failed = |source| ServeError::Bind {
        address: config.address,
        source,
    };
    let listener = TcpListener::bind(config.address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let socket = config.data_dir.map(|dir| local::Socket::bind(&dir)).transpose()?;
    Ok(Bound {
        app,
        listener,
        address,
        socket,
    })
}

/// Binds and runs until `shutdown` completes; see [`bind`] and [`Bound::run`].
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    app: App,
    config: ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    bind(app, config).await?.run(shutdown).await
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A way into its queue of documents.
    pub fn intake(&self) -> Intake {
        self.app.intake()
    }

    /// Answers until `shutdown` completes, then lets answers under way go on for a few seconds.
    ///
    /// # Errors
    /// When the listening socket fails.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let (ending, ended) = watch::channel(false);
        let socket = self
            .socket
            .map(|socket| tokio::spawn(socket.run(self.app.clone(), ended.clone())));
        tokio::spawn(async move {
            shutdown.await;
            let _ = ending.send(true);
        });
        let listener = Bounded {
            listener: self.listener,
            places: Arc::new(Semaphore::new(N_CONNECTIONS_MAX)),
        };
        let served =
            axum::serve(listener, router(self.app.clone())).with_graceful_shutdown(until(ended.clone()));
        let out_of_time = async {
            until(ended.clone()).await;
            tokio::time::sleep(DRAIN).await;
        };
        let result = tokio::select! {
            result = served.into_future() => result.map_err(ServeError::Io),
            () = out_of_time => Ok(()),
        };
        if let Some(socket) = socket {
            socket.abort();
            let _ = socket.await;
        }
        let app = self.app;
        let _ = tokio::task::spawn_blocking(move || {
            app.jobs.stop();
            app.reindexer.stop();
        })
        .await;
        result
    }
}

async fn until(mut ended: watch::Receiver<bool>) {
    // An error means that the sender is gone, which only happens at the end.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Every route with every layer.
pub(crate) fn router(app: App) -> Router {
    let programs = Router::new()
        .route("/health", get(models::health))
        .route("/healthz", get(models::health))
        .route("/readyz", get(models::health))
        .route("/metrics", get(models::metrics))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/api/ask", post(ask::api_ask))
        .route("/api/search", get(documents::search))
        .route("/api/suggest", get(documents::suggestions))
        .route("/api/quality", get(quality::api))
        .route("/api/status", get(models::status))
        .route("/api/router", get(models::router))
        .route(
            "/api/documents/{id}",
            get(documents::one).delete(documents::delete),
        )
        .route("/api/documents/{id}/marks", get(pictures::marks))
        .route("/api/documents/{id}/pages/{page}/picture", get(pictures::picture))
        .route("/api/jobs", get(documents::jobs))
        .route("/api/jobs/events", get(documents::job_events));
    let people = Router::new()
        .route("/", get(page::home))
        .route("/ask", post(page::ask))
        .route("/document/{id}", get(page::document))
        .route("/quality", get(page::quality))
        .route("/documents/{id}/delete", post(page::delete))
        .route("/documents/retry", post(page::retry))
        .route("/login", get(page::login).post(guard::sign_in))
        .route("/logout", post(guard::sign_out))
        .route("/assets/{name}", get(assets::one));
    let small = programs
        .merge(people)
        .layer(DefaultBodyLimit::max(JSON_BODY_BYTES_MAX));
    // Uploads count their own bytes while they stream to the disk.
    let large = Router::new()
        .route("/api/documents", get(documents::list).post(upload::api))
        .route("/documents", get(page::documents).post(upload::form))
        .layer(DefaultBodyLimit::disable());
    small
        .merge(large)
        .fallback(|| async { ApiError::not_found("not_found", "there is nothing at this address") })
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn_with_state(app.clone(), http::outermost))
        .with_state(app)
}

/// A listener that holds at most so many connections; the rest wait in the kernel's queue.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // The semaphore is never closed; waiting for ever is the harmless reading of the impossible.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Tokens are small and each should leave at once.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection {
                        stream,
                        idle: Box::pin(tokio::time::sleep(IDLE)),
                        _place: place,
                    };
                    return (connection, address);
                }
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place, which it loses when the other end is silent for too long.
struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Whatever came of a poll: progress starts the clock anew, waiting looks at it.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if polled.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return polled;
        }
        let silent = self.idle.as_mut().poll(context);
        silent.map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
