//! The form that a completion must have: OpenAI's `response_format`, and vLLM's `guided_…` fields.
//!
//! Only reads; whether a schema or a grammar can be used says the engine.

use model::Constraint;
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::Fields;

/// The one constraint that a request asks for, and the field that says so.
pub(super) fn constraint(fields: &Fields<'_>) -> Result<Option<(&'static str, Constraint)>, ApiError> {
    fields.refuse("guided_choice", |_| false)?;
    fields.refuse("structured_outputs", |_| false)?;
    let asked = [
        ("response_format", response_format(fields)?),
        ("guided_json", guided_json(fields)?),
        (
            "guided_regex",
            fields
                .text("guided_regex")?
                .map(|text| Constraint::Regex(text.to_owned())),
        ),
        (
            "guided_grammar",
            fields
                .text("guided_grammar")?
                .map(|text| Constraint::Grammar(text.to_owned())),
        ),
    ];
    let mut asked = asked
        .into_iter()
        .filter_map(|(field, constraint)| Some((field, constraint?)));
    let (first, second) = (asked.next(), asked.next());
    if let (Some((first, _)), Some((second, _))) = (&first, &second) {
        let message = format!("`{first}` and `{second}` both say what form the output has; send one of them");
        return Err(ApiError::bad_field(*second, message));
    }
    Ok(first)
}

fn response_format(fields: &Fields<'_>) -> Result<Option<Constraint>, ApiError> {
    const FIELD: &str = "response_format";
    let Some(format) = fields.get(FIELD) else {
        return Ok(None);
    };
    let wrong = |message: &str| ApiError::bad_field(FIELD, message);
    let format = Fields::of(format).map_err(|_| wrong("`response_format` must be an object"))?;
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Constraint::JsonObject)),
        Some("json_schema") => {
            let described = format.get("json_schema").and_then(Value::as_object);
            let schema = described.and_then(|described| described.get("schema"));
            let schema = schema.ok_or_else(|| wrong("`response_format.json_schema.schema` is missing"))?;
            Ok(Some(Constraint::JsonSchema(schema.clone())))
        }
        _ => Err(wrong(
            "`response_format.type` must be text, json_object or json_schema",
        )),
    }
}

/// A schema, or its JSON text.
fn guided_json(fields: &Fields<'_>) -> Result<Option<Constraint>, ApiError> {
    let schema = match fields.get("guided_json") {
        None => return Ok(None),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|error| {
            ApiError::bad_field("guided_json", format!("`guided_json` is not valid JSON: {error}"))
        })?,
        Some(schema) => schema.clone(),
    };
    Ok(Some(Constraint::JsonSchema(schema)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &Value) -> Result<Option<(&'static str, Constraint)>, ApiError> {
        constraint(&Fields::of(body).unwrap())
    }

    #[test]
    fn every_form_is_read() {
        let schema = json!({"type": "integer"});
        let cases = [
            (json!({}), None),
            (json!({"response_format": {"type": "text"}}), None),
            (
                json!({"response_format": {"type": "json_object"}}),
                Some(("response_format", Constraint::JsonObject)),
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
                Some(("response_format", Constraint::JsonSchema(schema.clone()))),
            ),
            (
                json!({"guided_json": schema.to_string(), "response_format": {"type": "text"}}),
                Some(("guided_json", Constraint::JsonSchema(schema.clone()))),
            ),
            (
                json!({"guided_regex": "a+"}),
                Some(("guided_regex", Constraint::Regex("a+".into()))),
            ),
            (
                json!({"guided_grammar": "start: \"a\""}),
                Some(("guided_grammar", Constraint::Grammar("start: \"a\"".into()))),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(of(&body).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn a_wrong_form_is_refused_with_the_name_of_its_field() {
        let cases = [
            (json!({"response_format": "json"}), "response_format"),
            (json!({"response_format": {"type": "xml"}}), "response_format"),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format",
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
                "response_format",
            ),
            (json!({"guided_regex": 5}), "guided_regex"),
            (json!({"guided_json": "{"}), "guided_json"),
            (json!({"guided_choice": ["a"]}), "guided_choice"),
            (
                json!({"guided_regex": "a", "guided_grammar": "start: \"a\""}),
                "guided_grammar",
            ),
        ];
        for (body, param) in cases {
            let error = of(&body).unwrap_err();
            assert_eq!(
                (error.param.as_deref(), error.status.as_u16()),
                (Some(param), 400),
                "{body}"
            );
        }
    }
}
