//! The report on quality over HTTP: one is made at a time, for it walks over all documents.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use knowledge::Reader;
use knowledge::quality::QualityOptions;

use crate::documents::{Values, number, off_reactor};
use crate::error::ApiError;
use crate::principal::Principal;
use crate::state::App;
use crate::wire::QualityJson;

/// More months than anybody keeps documents.
const MONTHS_MAX: usize = 1_200;

/// The report for a reader.
pub(crate) async fn report(
    app: &App,
    (reader, principal): (&Reader, &Principal),
    values: &Values,
) -> Result<QualityJson, ApiError> {
    let mut options = QualityOptions::default();
    if let Some(months) = number(values, "months")? {
        options.stale_months = u32::try_from(months)
            .ok()
            .filter(|_| months <= MONTHS_MAX)
            .ok_or_else(|| ApiError::bad_field("months", format!("`months` is at most {MONTHS_MAX}")))?;
    }
    let place = app.requests.take(principal.caller())?;
    let turn = app
        .quality
        .clone()
        .acquire_owned()
        .await
        .map_err(ApiError::internal)?;
    let (app, reader) = (app.clone(), reader.clone());
    off_reactor(move || {
        let _held = (place, turn);
        let report = app.assistant.store().view(&reader)?.quality(&options)?;
        Ok(QualityJson::from(&report))
    })
    .await
}

/// `GET /api/quality?months=`.
pub(crate) async fn api(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    values: Values,
) -> Result<Response, ApiError> {
    Ok(Json(report(&app, (&reader, &principal), &values).await?).into_response())
}
