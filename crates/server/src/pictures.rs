//! Pages of PDF documents as pictures, and where on them a quote stands.
//!
//! Drawn when somebody looks, in the child process that reads hostile formats, and kept in memory for a while: never on
//! the disk, for a page may be confidential.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use knowledge::{PagePicture, Reader};

use crate::documents::{Values, number, off_reactor};
use crate::error::ApiError;
use crate::principal::Principal;
use crate::state::App;
use crate::wire::MarksJson;

/// Width of a picture unless asked for otherwise.
const WIDTH_DEFAULT: usize = 1_600;
/// Widths are multiples of this, so that a few pictures serve all screens.
const WIDTH_STEP: usize = 400;
/// Widest picture in pixels.
const WIDTH_MAX: usize = 2_400;
/// Bytes of pictures that are kept.
const KEPT_BYTES_MAX: usize = 48 << 20;

/// What tells pictures apart. The version is a hash of the file, so a picture never goes stale.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    document_id: String,
    version: String,
    page: u32,
    width: u32,
}

/// The pictures that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Pictures(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Used last at the end.
    pictures: VecDeque<(Key, Bytes)>,
    n_bytes: usize,
}

impl Pictures {
    fn get(&self, key: &Key) -> Option<Bytes> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.pictures.iter().position(|(other, _)| other == key)?;
        let found = kept.pictures.remove(at)?;
        let picture = found.1.clone();
        kept.pictures.push_back(found);
        Some(picture)
    }

    fn keep(&self, key: Key, picture: &Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if picture.len() > KEPT_BYTES_MAX || kept.pictures.iter().any(|(other, _)| *other == key) {
            return;
        }
        kept.n_bytes += picture.len();
        kept.pictures.push_back((key, picture.clone()));
        while kept.n_bytes > KEPT_BYTES_MAX
            && let Some((_, oldest)) = kept.pictures.pop_front()
        {
            kept.n_bytes -= oldest.len();
        }
    }
}

fn no_document() -> ApiError {
    ApiError::not_found(
        "document_not_found",
        "there is no such document, or not in this version",
    )
}

fn no_page() -> ApiError {
    ApiError::not_found(
        "page_not_found",
        "the document has no such page that could be shown as a picture",
    )
}

/// `GET /api/documents/{id}/pages/{page}/picture?version=&width=`: the page as PNG.
pub(crate) async fn picture(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    Path((id, page)): Path<(String, String)>,
    values: Values,
) -> Result<Response, ApiError> {
    let page: u32 = page.parse().map_err(|_| no_page())?;
    let width = number(&values, "width")?.unwrap_or(WIDTH_DEFAULT);
    let width = width.clamp(1, WIDTH_MAX).next_multiple_of(WIDTH_STEP) as u32;
    let version = values.get("version").filter(|v| !v.is_empty()).cloned();
    let place = app.requests.take(principal.caller())?;
    // Drawing keeps a core busy and takes memory: the others wait for their turn.
    let turn = app.drawings.clone().acquire_owned().await;
    let bytes = off_reactor(move || {
        let _held = (place, turn);
        drawn(&app, &reader, &id, version.as_deref(), (page, width))
    })
    .await?;
    let mut response = bytes.into_response();
    let kind = HeaderValue::from_static("image/png");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The picture out of memory, or newly drawn. Rights are asked for first, either way.
fn drawn(
    app: &App,
    reader: &Reader,
    id: &str,
    version: Option<&str>,
    (page, width): (u32, u32),
) -> Result<Bytes, ApiError> {
    let view = app.assistant.store().view(reader)?;
    let version = view.drawable_page(id, version, page)?.ok_or_else(no_document)?;
    if version.is_empty() {
        return Err(no_page());
    }
    let key = Key {
        document_id: id.to_owned(),
        version,
        page,
        width,
    };
    if let Some(kept) = app.pictures.get(&key) {
        return Ok(kept);
    }
    let picture = view.page_picture(id, Some(&key.version), page, width)?;
    match picture.ok_or_else(no_document)? {
        PagePicture::Drawn(picture) => {
            let picture = Bytes::from(picture);
            app.pictures.keep(key, &picture);
            Ok(picture)
        }
        PagePicture::NoSuchPage => Err(no_page()),
        PagePicture::Changed => Err(ApiError::new(
            StatusCode::CONFLICT,
            Some("file_changed"),
            "the file is gone or has changed since this version was taken in; the stored text is still here",
        )),
        PagePicture::Failed(reason) => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            Some("page_not_drawn"),
            format!("the page cannot be drawn: {reason}"),
        )),
    }
}

/// `GET /api/documents/{id}/marks?version=&start=&end=`: what a span covers, page by page.
pub(crate) async fn marks(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Path(id): Path<String>,
    values: Values,
) -> Result<Response, ApiError> {
    let start = number(&values, "start")?.unwrap_or(0);
    let end = number(&values, "end")?.unwrap_or(start);
    let version = values.get("version").filter(|v| !v.is_empty()).cloned();
    let found = of_span(&app, &reader, id, version, (start, end)).await?;
    Ok(Json(found.ok_or_else(no_document)?).into_response())
}

/// What a span covers; `None` if there is no such document.
pub(crate) async fn of_span(
    app: &App,
    reader: &Reader,
    id: String,
    version: Option<String>,
    (start, end): (usize, usize),
) -> Result<Option<MarksJson>, ApiError> {
    let (app, reader) = (app.clone(), reader.clone());
    off_reactor(move || {
        let view = app.assistant.store().view(&reader)?;
        let marks = view.marks(&id, version.as_deref(), start..end)?;
        Ok(marks.map(|pages| MarksJson::from(pages.as_slice())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(page: u32) -> Key {
        Key {
            document_id: "d".into(),
            version: "v".into(),
            page,
            width: 800,
        }
    }

    #[test]
    fn the_pictures_used_last_stay_within_the_bound() {
        let pictures = Pictures::default();
        let large = Bytes::from(vec![0; KEPT_BYTES_MAX / 2]);
        pictures.keep(key(1), &large);
        pictures.keep(key(2), &large);
        assert!(pictures.get(&key(1)).is_some());
        pictures.keep(key(3), &large);
        assert!(pictures.get(&key(2)).is_none(), "page 2 was used least");
        assert!(pictures.get(&key(1)).is_some() && pictures.get(&key(3)).is_some());
        pictures.keep(key(4), &Bytes::from(vec![0; KEPT_BYTES_MAX + 1]));
        assert!(pictures.get(&key(4)).is_none());
        assert!(pictures.0.lock().unwrap().n_bytes <= KEPT_BYTES_MAX);
    }
}
