//! Uploads: streamed to a temporary file, recorded and put in place when whole, then queued for ingest. Only then is the
//! client told: a restart goes on with whatever was accepted.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use knowledge::Reader;
use serde_json::json;
use tokio::sync::mpsc;

use crate::documents::off_reactor;
use crate::error::ApiError;
use crate::jobs::Order;
use crate::state::App;
use crate::wire::{JobJson, SCHEMA};

/// Files of one request.
const N_FILES_MAX: usize = 64;
/// Bytes of a file's name.
const NAME_BYTES_MAX: usize = 200;
/// Chunks on the way to the disk.
const N_CHUNKS_BUFFERED: usize = 8;

/// A file that has arrived whole but is not in place yet.
struct Arrived {
    temporary: Temporary,
    name: String,
}

/// A temporary file; gone when dropped, unless it was renamed into place before.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = stdx::fs::remove_file(&self.0);
    }
}

/// `POST /api/documents`.
pub(crate) async fn api(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    request: Request,
) -> Result<Response, ApiError> {
    let jobs = receive(&app, &reader, request).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({"schema": SCHEMA, "jobs": jobs})),
    )
        .into_response())
}

/// `POST /documents`: the form of the page without script.
pub(crate) async fn form(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    request: Request,
) -> Result<Response, ApiError> {
    receive(&app, &reader, request).await?;
    Ok(Redirect::to("/documents").into_response())
}

async fn receive(app: &App, reader: &Reader, request: Request) -> Result<Vec<JobJson>, ApiError> {
    let mut multipart = Multipart::from_request(request, app).await.map_err(|_| {
        ApiError::bad_request("an upload is sent as multipart/form-data with one part for each file")
    })?;
    let mut arrived = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(|error| broken(&error))? {
        let Some(name) = field.file_name().map(clean_name) else {
            continue;
        };
        if name.is_empty() {
            continue;
        }
        if arrived.len() == N_FILES_MAX {
            return Err(ApiError::too_large(format!(
                "at most {N_FILES_MAX} files are taken at once"
            )));
        }
        arrived.push(store(app, name, field).await?);
    }
    if arrived.is_empty() {
        return Err(ApiError::bad_request("the upload holds no file"));
    }
    let (app, reader) = (app.clone(), reader.clone());
    let place_all = move || {
        arrived
            .into_iter()
            .map(|file| place(&app, &reader, file))
            .collect()
    };
    off_reactor(place_all).await
}

/// What goes to the thread that writes.
enum Piece {
    Bytes(Bytes),
    /// The file is whole. A channel that closes without it means that the client is gone.
    End,
}

async fn store(app: &App, name: String, mut field: Field<'_>) -> Result<Arrived, ApiError> {
    let (sender, receiver) = mpsc::channel(N_CHUNKS_BUFFERED);
    let secret = stdx::rng::secret_hex(8).map_err(ApiError::internal)?;
    let folder = app.assistant.store().arrivals();
    let temporary = folder.join(secret);
    let writer = tokio::task::spawn_blocking(move || write(&folder, temporary, receiver));
    let fed = feed(app, &name, &mut field, &sender).await;
    if fed.is_ok() {
        let _ = sender.send(Piece::End).await;
    }
    drop(sender);
    // Waited for also after a failure: when the client is told of it, nothing is left behind.
    let written = writer.await.map_err(ApiError::internal)?;
    fed?;
    Ok(Arrived {
        temporary: written?,
        name,
    })
}

/// Hands a file's bytes to the thread that writes them.
async fn feed(
    app: &App,
    name: &str,
    field: &mut Field<'_>,
    writer: &mpsc::Sender<Piece>,
) -> Result<(), ApiError> {
    let mut bytes = 0;
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        bytes += chunk.len() as u64;
        if bytes > app.max_upload_bytes {
            let limit = app.max_upload_bytes;
            return Err(ApiError::too_large(format!(
                "`{name}` is larger than the limit of {limit} bytes"
            )));
        }
        // The writer ends early only with an error of its own.
        if writer.send(Piece::Bytes(chunk)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes the pieces; whatever goes wrong, the guard takes the file away again.
fn write(folder: &Path, target: PathBuf, mut pieces: mpsc::Receiver<Piece>) -> Result<Temporary, ApiError> {
    stdx::fs::create_dir_all(folder).map_err(disk)?;
    let mut file: File = stdx::fs::create(&target).map_err(disk)?;
    let temporary = Temporary(target);
    let failed = |error| disk(stdx::fs::FsError::new("write", &temporary.0, error));
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => file.write_all(&bytes).map_err(failed)?,
            Some(Piece::End) => break,
            None => return Err(ApiError::bad_request("the upload ended early")),
        }
    }
    file.sync_all().map_err(failed)?;
    Ok(temporary)
}

fn disk(error: stdx::fs::FsError) -> ApiError {
    if error.is_no_space() {
        return ApiError::disk_full();
    }
    ApiError::internal(error)
}

fn broken(error: &MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::too_large("the upload is larger than the limit");
    }
    ApiError::bad_request("the upload is broken: it ended early or is not valid multipart/form-data")
}

/// Puts the file in place under its own name (a newer upload of the same name is its new version) and queues it. What
/// one may not read one may not replace: then the file gets a name of its own.
fn place(app: &App, reader: &Reader, file: Arrived) -> Result<JobJson, ApiError> {
    let store = app.assistant.store();
    let mut kept = file.name.clone();
    if is_hidden(app, reader, &app.uploads_dir.join(&kept))? {
        let mark = stdx::rng::secret_hex(4).map_err(disk)?;
        kept = format!("{mark}-{kept}");
    }
    let accepted = store.accept(&file.temporary.0, &kept, &file.name, reader)?;
    let id = accepted.id;
    match app.jobs.submit(reader, Order::of_accepted(accepted), None) {
        Some(job) => Ok(job),
        None => {
            // Nobody will be told that it was accepted.
            store.forget_accepted(id)?;
            Err(ApiError::queue_full())
        }
    }
}

/// Whether a document lies there that the reader may not see.
fn is_hidden(app: &App, reader: &Reader, path: &Path) -> Result<bool, ApiError> {
    let store = app.assistant.store();
    let Some(id) = store.id_at(path)? else {
        return Ok(false);
    };
    let exists = |reader: &Reader| store.view(reader).and_then(|view| view.document(&id, None));
    Ok(exists(&Reader::keeper())?.is_some() && exists(reader)?.is_none())
}

/// The last part of the name a client sent, without anything a file system or a terminal would take amiss.
fn clean_name(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .filter(|c| !c.is_control() && !is_bidi_control(*c))
        .collect();
    let name = plain.trim().trim_start_matches('.').trim();
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= 16 => (stem, extension),
        _ => (name, ""),
    };
    let room = NAME_BYTES_MAX - extension.len() - 1;
    let cut = (0..=room).rev().find(|&i| stem.is_char_boundary(i)).unwrap_or(0);
    if extension.is_empty() {
        stem[..cut].to_owned()
    } else {
        format!("{}.{extension}", &stem[..cut])
    }
}

/// Marks that turn the reading direction: a name could show another extension than it has.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::clean_name;

    #[test]
    fn a_sent_name_cannot_leave_the_folder() {
        let cases = [
            ("a.pdf", "a.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\docs\\계약서.hwp", "계약서.hwp"),
            ("..", ""),
            (".hidden", "hidden"),
            ("a\nb\u{202E}fdp.exe", "abfdp.exe"),
            ("/", ""),
        ];
        for (sent, kept) in cases {
            assert_eq!(clean_name(sent), kept, "{sent:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = clean_name(&format!("{}.docx", "가".repeat(200)));
        assert!(name.len() <= 200 && name.ends_with("가.docx"), "{name}");
    }
}
