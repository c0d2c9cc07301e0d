//! `POST /v1/embeddings`: the embedder the documents are indexed with.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use knowledge::EmbedKind;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::JsonBody;
use crate::models::GROUNDED;
use crate::principal::Principal;
use crate::state::App;

/// Texts of one request.
const N_INPUTS_MAX: usize = 256;
/// Characters of one text.
const INPUT_CHARS_MAX: usize = 32_768;
/// Texts embedded between two looks at whether the client still waits.
const N_AT_ONCE: usize = 8;

struct EmbeddingsRequest {
    model: String,
    texts: Vec<String>,
    kind: EmbedKind,
    base64: bool,
}

#[derive(Serialize)]
struct EmbeddingJson {
    object: &'static str,
    index: usize,
    embedding: Value,
}

/// `POST /v1/embeddings`.
pub(crate) async fn create(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let embedder = app.assistant.embedder().cloned().ok_or_else(|| {
        ApiError::not_found(
            "no_embedder",
            "no embedding model is configured here; see `hanok doctor`",
        )
    })?;
    let id = embedder.id();
    let request = parse(&Fields::of(&body.0)?, id.dim)?;
    if request.model != GROUNDED && request.model != id.name {
        return Err(crate::models::unknown(&request.model));
    }
    let place = app.requests.take(principal.caller())?;
    let turn = app
        .embeddings
        .clone()
        .acquire_owned()
        .await
        .map_err(ApiError::internal)?;
    // A client that goes away drops the receiver, and the thread stops at the next batch.
    let (alive, gone) = tokio::sync::oneshot::channel::<()>();
    let vectors = crate::documents::off_reactor(move || {
        let _held = (place, turn);
        let texts: Vec<&str> = request.texts.iter().map(String::as_str).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(N_AT_ONCE) {
            if alive.is_closed() {
                return Err(ApiError::unavailable("the request was cancelled"));
            }
            vectors.extend(embedder.embed(request.kind, batch));
        }
        Ok((vectors, request))
    });
    let (vectors, request) = vectors.await?;
    drop(gone);
    let data: Vec<EmbeddingJson> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| EmbeddingJson {
            object: "embedding",
            index,
            embedding: encode(vector, request.base64),
        })
        .collect();
    let n_tokens = approximate_tokens(&request.texts);
    let usage = json!({"prompt_tokens": n_tokens, "total_tokens": n_tokens});
    Ok(Json(json!({"object": "list", "data": data, "model": id.name, "usage": usage})).into_response())
}

/// The embedder does not say how many tokens it saw; clients expect a number, so words and Hangul syllables are
/// counted.
fn approximate_tokens(texts: &[String]) -> usize {
    let count = |text: &String| {
        let hangul = text.chars().filter(|c| ('가'..='힣').contains(c)).count();
        text.split_whitespace().count().max(hangul)
    };
    texts.iter().map(count).sum()
}

fn encode(vector: &[f32], base64: bool) -> Value {
    if base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
    } else {
        json!(vector)
    }
}

fn parse(fields: &Fields<'_>, dim: usize) -> Result<EmbeddingsRequest, ApiError> {
    let model = fields.text("model")?;
    let model = model.ok_or_else(|| ApiError::bad_field("model", "`model` is missing"))?;
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(ApiError::bad_field(
                "encoding_format",
                "`encoding_format` must be float or base64",
            ));
        }
    };
    let wanted = fields.whole("dimensions", 1, u64::from(u32::MAX))?;
    if wanted.is_some_and(|wanted| usize::try_from(wanted) != Ok(dim)) {
        let message = format!("this embedding model has {dim} dimensions and no others");
        return Err(ApiError::bad_field("dimensions", message));
    }
    let kind = match fields.text("input_type")? {
        None | Some("passage" | "document") => EmbedKind::Passage,
        Some("query") => EmbedKind::Query,
        Some(_) => {
            return Err(ApiError::bad_field(
                "input_type",
                "`input_type` must be query or passage",
            ));
        }
    };
    Ok(EmbeddingsRequest {
        model: model.to_owned(),
        texts: texts(fields.get("input"))?,
        kind,
        base64,
    })
}

fn texts(input: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let wrong = |message: String| ApiError::bad_field("input", message);
    let texts = match input {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect();
            texts.ok_or_else(|| {
                wrong("`input` must be a text or a list of texts; token ids are not taken".into())
            })?
        }
        _ => return Err(wrong("`input` must be a text or a list of texts".into())),
    };
    if texts.is_empty() || texts.len() > N_INPUTS_MAX {
        return Err(wrong(format!(
            "`input` has {} texts; 1 to {N_INPUTS_MAX} are taken",
            texts.len()
        )));
    }
    if texts.iter().any(|text| text.trim().is_empty()) {
        return Err(wrong("a text of `input` is empty".into()));
    }
    if texts.iter().any(|text| text.chars().count() > INPUT_CHARS_MAX) {
        return Err(wrong(format!(
            "a text of `input` is longer than {INPUT_CHARS_MAX} characters"
        )));
    }
    Ok(texts)
}
