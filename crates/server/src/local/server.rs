//! The server's side of the local socket.

use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assistant::{Ask, Turn};
use knowledge::Reader;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Call, EventLine, LocalError, Outcome, Reply, Request, own_uid, socket_path};
use crate::ask::Progress;
use crate::documents::off_reactor;
use crate::error::ApiError;
use crate::jobs::{JobEvent, Order};
use crate::principal::Principal;
use crate::reindex::ReindexStep;
use crate::state::App;
use crate::wire::{DocumentTextJson, DocumentsJson, SCHEMA};

/// Commands at once.
const N_CONNECTIONS_MAX: usize = 64;
/// Bytes of a call: paths and questions, not documents.
const CALL_BYTES_MAX: u64 = 16 << 20;
/// How long a command may take to say what it wants.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening local socket; its file is removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = stdx::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Listens for commands on `data_dir`. A socket file that nobody answers on is a left-over and is replaced.
    ///
    /// # Errors
    /// See [`LocalError`].
    pub fn bind(data_dir: &Path) -> Result<Self, LocalError> {
        let path = socket_path(data_dir)?;
        let uid = own_uid()?;
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(LocalError::AlreadyServing { path });
        }
        let failed = |verb| {
            let path = path.clone();
            move |source| LocalError::Io { verb, path, source }
        };
        if stdx::fs::symlink_metadata(&path).is_ok() {
            stdx::fs::remove_file(&path)
                .map_err(|error| failed("replace")(std::io::Error::new(error.kind(), error.to_string())))?;
        }
        let listener = UnixListener::bind(&path).map_err(failed("create"))?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(failed("protect"))?;
        Ok(Self { listener, path, uid })
    }

    /// Answers until the server ends.
    pub(crate) async fn run(self, app: App, mut ended: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(N_CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = ended.wait_for(|ended| *ended) => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            // The file's mode already says so; the peer's own credentials cannot be forged.
            let peer = stream.peer_cred().map(|peer| peer.uid());
            if !peer.is_ok_and(|uid| uid == self.uid || uid == 0) {
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let app = app.clone();
            tokio::spawn(async move {
                let _held = place;
                converse(&app, stream).await;
            });
        }
    }
}

async fn converse(app: &App, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let call = match tokio::time::timeout(CALL_TIMEOUT, read_call(&mut reader)).await {
        Ok(call) => call,
        Err(_) => return,
    };
    let (replies, mut lines) = mpsc::channel(16);
    let answered = async {
        let last = match call {
            Ok((call, rights)) => answer(app, call, rights, &replies)
                .await
                .map_or_else(refusal, Reply::Final),
            Err(error) => refusal(error),
        };
        let _ = replies.send(last).await;
        drop(replies);
    };
    let written = async {
        while let Some(reply) = lines.recv().await {
            if write(&mut writer, &reply).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    // Whatever the command sends next, or its hanging up, ends the conversation: dropping the answer cancels it.
    tokio::select! {
        ((), ()) = async { tokio::join!(answered, written) } => {}
        _ = reader.read_u8() => {}
    }
}

async fn read_call(reader: &mut BufReader<OwnedReadHalf>) -> Result<(Call, Reader), ApiError> {
    let mut line = String::new();
    let read = (&mut *reader).take(CALL_BYTES_MAX).read_line(&mut line).await;
    read.map_err(|_| ApiError::bad_request("the call is not a line of text"))?;
    let request: Request = serde_json::from_str(&line).map_err(|error| {
        ApiError::bad_request(format!("the running server does not know this call: {error}"))
    })?;
    if request.schema != SCHEMA {
        let message = format!("the running server speaks version {SCHEMA}; restart it");
        return Err(ApiError::bad_request(message));
    }
    let rights = Reader::stated(&request.groups).map_err(|what| ApiError::bad_field("groups", what))?;
    Ok((request.call, rights))
}

fn refusal(error: ApiError) -> Reply {
    let id = stdx::rng::secret_hex(6).unwrap_or_default();
    error.log(&id);
    Reply::Error(error.to_wire(&id).error)
}

async fn write(writer: &mut OwnedWriteHalf, reply: &Reply) -> std::io::Result<()> {
    let mut line = crate::ask::to_text(reply);
    line.push('\n');
    writer.write_all(line.as_bytes()).await
}

async fn answer(
    app: &App,
    call: Call,
    rights: Reader,
    replies: &mpsc::Sender<Reply>,
) -> Result<Outcome, ApiError> {
    let held = app.clone();
    match call {
        Call::Ask {
            question,
            history,
            extractive,
            as_of,
        } => {
            let ask = Ask {
                question,
                history: history.into_iter().map(Turn::from).collect(),
                extractive,
                reader: rights,
                as_of: as_of.into(),
                caller: Principal::Local.caller(),
            };
            asked(app, ask, replies).await
        }
        Call::Search {
            question,
            k,
            mode,
            as_of,
        } => {
            let as_of = as_of.into();
            let found =
                off_reactor(move || Ok(crate::documents::find(&held, &rights, &question, k, mode, as_of)?));
            Ok(Outcome::Search(found.await?))
        }
        Call::Suggest { beginning, k } => {
            let found = off_reactor(move || Ok(crate::documents::suggest(&held, &rights, &beginning, k)?));
            Ok(Outcome::Suggest(found.await?))
        }
        Call::Ingest { paths, retry } => ingested(app, &rights, (paths, retry), replies).await,
        Call::Show {
            document_id,
            version,
            start,
            end,
        } => {
            let span = start.unwrap_or(0)..end.unwrap_or(usize::MAX);
            shown(held, rights, document_id, version, span).await
        }
        Call::Documents => {
            let documents =
                off_reactor(move || Ok(held.assistant.store().view(&rights)?.documents()?)).await?;
            Ok(Outcome::Documents(DocumentsJson::from(documents.as_slice())))
        }
        Call::Remove { document_id } => {
            let removed = off_reactor(move || Ok(crate::documents::remove(&held, &rights, &document_id)?));
            Ok(Outcome::Remove(removed.await?))
        }
        Call::Forget { folder } => {
            let forgotten = off_reactor(move || Ok(held.assistant.store().forget_folder(&folder)?));
            Ok(Outcome::Forget(forgotten.await?))
        }
        Call::Reindex { embedder } => reindexed(app, embedder.as_deref(), replies).await,
        Call::Status => {
            let status = off_reactor(move || Ok(held.status(&rights)?)).await?;
            Ok(Outcome::Status(Box::new(status)))
        }
    }
}

async fn shown(
    app: App,
    reader: Reader,
    document_id: String,
    version: Option<String>,
    span: Range<usize>,
) -> Result<Outcome, ApiError> {
    let read = move || {
        let view = app.assistant.store().view(&reader)?;
        Ok(view.document(&document_id, version.as_deref())?)
    };
    let document = off_reactor(read).await?;
    let part = |document| DocumentTextJson::part(document, span.start, span.end);
    Ok(Outcome::Show(document.as_ref().map(part).map(Box::new)))
}

async fn asked(app: &App, ask: Ask, replies: &mpsc::Sender<Reply>) -> Result<Outcome, ApiError> {
    let mut progress = crate::ask::start(app, ask)?;
    while let Some(step) = progress.recv().await {
        match step {
            Progress::Event(event) => {
                let _ = replies.send(Reply::Event(EventLine::Ask(event))).await;
            }
            Progress::Done(answer) => return Ok(Outcome::Ask(answer)),
            Progress::Failed(error) => return Err(error),
        }
    }
    Err(ApiError::unavailable("the question was cancelled"))
}

async fn reindexed(
    app: &App,
    embedder: Option<&str>,
    replies: &mpsc::Sender<Reply>,
) -> Result<Outcome, ApiError> {
    let own = app.assistant.wanted_embedder().map(|embedder| embedder.id());
    if let (Some(wanted), Some(own)) = (embedder, &own)
        && wanted != own.sha256
    {
        return Err(ApiError::bad_field(
            "embedder",
            "the running server has another embedding model; start it again with `--embedder` or the setting, and it \
             makes the vectors anew while the present ones answer",
        ));
    }
    let mut events = app
        .reindexer
        .order()
        .ok_or_else(|| ApiError::unavailable("the server is ending"))?;
    while let Some(event) = events.recv().await {
        match event {
            ReindexStep::Progress(event) => {
                let _ = replies.send(Reply::Event(EventLine::Reindex(event))).await;
            }
            ReindexStep::Done(report) => return Ok(Outcome::Reindex(report)),
            // The same user runs both ends, so the reason may be told.
            ReindexStep::Failed(reason) => {
                let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
                return Err(ApiError::new(status, Some("reindex_failed"), reason));
            }
        }
    }
    Err(ApiError::unavailable(
        "the server is ending; it goes on with the new index when it is started again",
    ))
}

async fn ingested(
    app: &App,
    rights: &Reader,
    (paths, retry): (Vec<PathBuf>, bool),
    replies: &mpsc::Sender<Reply>,
) -> Result<Outcome, ApiError> {
    if paths.iter().any(|path| !path.is_absolute()) {
        return Err(ApiError::bad_field("paths", "paths must be absolute"));
    }
    let name = match paths.as_slice() {
        [only] => only
            .file_name()
            .unwrap_or(only.as_os_str())
            .to_string_lossy()
            .into_owned(),
        many => format!("{} paths", many.len()),
    };
    let (sender, mut events) = mpsc::unbounded_channel();
    let order = Order {
        name,
        bytes: 0,
        paths,
        retry,
        accepted: None,
    };
    let job = app.jobs.submit(rights, order, Some(sender));
    job.ok_or_else(ApiError::queue_full)?;
    while let Some(event) = events.recv().await {
        match event {
            JobEvent::Progress(event) => {
                let _ = replies.send(Reply::Event(EventLine::Ingest(event))).await;
            }
            JobEvent::Done(report) => return Ok(Outcome::Ingest(report)),
            // The same user runs both ends, so the reason may be told.
            JobEvent::Failed(reason) => {
                let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
                return Err(ApiError::new(status, Some("ingest_failed"), reason));
            }
        }
    }
    Err(ApiError::unavailable(
        "the server is ending; what was not taken in stays queued",
    ))
}
