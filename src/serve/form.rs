//! The form of an upload: a recording, and how it is to be answered.

use axum::body::Bytes;
use axum::extract::multipart::{Field, Multipart, MultipartError, MultipartRejection};
use axum::http::StatusCode;
use tokio::time::timeout;

use super::captions::Captions;
use super::limits::Limits;
use super::problem::Problem;

/// The longest text field, bytes.
const LONGEST_FIELD: usize = 4_096;

/// What the text is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `{"text": …}`
    #[default]
    Json,
    /// The text alone.
    Text,
    /// Segments and words.
    Verbose,
    /// Subtitles.
    Captions(Captions),
}

/// A form that is good.
#[derive(Debug)]
pub struct Form {
    /// The file's name, as the client says it.
    pub name: String,
    pub file: Bytes,
    pub format: Format,
    /// Whether words with their times are wanted.
    pub words: bool,
    /// Whether the text is wanted as it comes.
    pub stream: bool,
}

/// Says what to send instead of something that is no form.
pub fn no_form(rejection: &MultipartRejection) -> Problem {
    let problem = format!(
        "expected a form (multipart/form-data) with the recording in the field `file`, as by `curl -F \
         file=@recording.wav`: {}",
        rejection.body_text()
    );
    Problem::bad(problem)
}

/// Reads a form to its end.
///
/// # Errors
/// What is wrong with it, by the field.
pub async fn read_form(limits: &Limits, mut multipart: Multipart) -> Result<Form, Problem> {
    let (mut name, mut file) = (String::new(), None);
    let (mut format, mut words, mut stream) = (Format::default(), false, false);
    loop {
        let next = timeout(limits.idle, multipart.next_field()).await.map_err(|_| late(limits))?;
        let Some(field) = next.map_err(|e| malformed(limits, &e))? else { break };
        let field_name = field.name().unwrap_or_default().to_string();
        if field_name == "file" {
            name = field.file_name().unwrap_or("the recording").chars().take(200).collect();
            let too_long = || too_long_a_file(limits, &name);
            file = Some(read_field(limits, field, limits.upload_bytes, too_long).await?);
            continue;
        }
        let too_long = || {
            let shown: String = field_name.chars().take(60).collect();
            let problem = format!("the field `{shown}` is longer than {LONGEST_FIELD} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem)
        };
        let value = read_field(limits, field, LONGEST_FIELD, too_long).await?;
        let value = String::from_utf8_lossy(&value);
        match field_name.as_str() {
            "response_format" => format = response_format(&value)?,
            "timestamp_granularities[]" | "timestamp_granularities" => words |= granularity(&value)?,
            "stream" => stream = boolean("stream", &value)?,
            "temperature" => check_temperature(&value)?,
            // model, language, prompt: there is one model here, and it has no use for the others.
            _ => {}
        }
    }
    if stream && !matches!(format, Format::Json | Format::Text) {
        let problem = "with `stream` the response_format can only be json or text";
        return Err(Problem::bad(problem).of("response_format"));
    }
    let file = file.ok_or_else(|| Problem::bad("expected a field `file` with the recording").of("file"))?;
    Ok(Form { name, file, format, words, stream })
}

fn response_format(value: &str) -> Result<Format, Problem> {
    match value {
        "" | "json" => Ok(Format::Json),
        "text" => Ok(Format::Text),
        "verbose_json" => Ok(Format::Verbose),
        "srt" => Ok(Format::Captions(Captions::Srt)),
        "vtt" => Ok(Format::Captions(Captions::Vtt)),
        _ => Err(unexpected("response_format", "json, text, verbose_json, srt or vtt", value)),
    }
}

/// Whether it is words that are wanted; segments come always.
fn granularity(value: &str) -> Result<bool, Problem> {
    match value {
        "word" => Ok(true),
        "segment" => Ok(false),
        _ => Err(unexpected("timestamp_granularities", "word or segment", value)),
    }
}

fn boolean(field: &'static str, value: &str) -> Result<bool, Problem> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "" | "false" | "0" => Ok(false),
        _ => Err(unexpected(field, "true or false", value)),
    }
}

/// It is passed over, but nonsense in it is a client's mistake.
fn check_temperature(value: &str) -> Result<(), Problem> {
    match value.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(()),
        _ => Err(unexpected("temperature", "a number", value)),
    }
}

fn unexpected(field: &'static str, expected: &str, found: &str) -> Problem {
    let found: String = found.chars().take(60).collect();
    Problem::bad(format!("expected {expected} as {field}, found `{found}`")).of(field)
}

async fn read_field(
    limits: &Limits,
    mut field: Field<'_>,
    most: usize,
    too_long: impl Fn() -> Problem,
) -> Result<Bytes, Problem> {
    let mut bytes = Vec::new();
    loop {
        let chunk = timeout(limits.idle, field.chunk()).await.map_err(|_| late(limits))?;
        let chunk = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(bytes.into()),
            // The whole form is too long: it is this field that made it so.
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => return Err(too_long()),
            Err(error) => return Err(malformed(limits, &error)),
        };
        if bytes.len() + chunk.len() > most {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
}

fn too_long_a_file(limits: &Limits, name: &str) -> Problem {
    let problem = format!("{name} is longer than {} bytes, the limit here", limits.upload_bytes);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem).of("file")
}

fn late(limits: &Limits) -> Problem {
    let problem = format!("nothing came for {} s in the middle of the form", limits.idle.as_secs_f64());
    Problem::new(StatusCode::REQUEST_TIMEOUT, problem)
}

fn malformed(limits: &Limits, error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let problem = format!("the form is longer than its recording may be: {} bytes", limits.upload_bytes);
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem);
    }
    Problem::new(error.status(), error.body_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_good_name_their_field() {
        let message = |problem: Problem| problem.json()["error"]["message"].to_string();
        assert!(message(response_format("xml").expect_err("no format")).contains("`xml`"));
        assert_eq!(granularity("segment").ok(), Some(false));
        assert!(message(granularity("letter").expect_err("none")).contains("timestamp_granularities"));
        for (value, good) in [("0", true), ("0.2", true), ("warm", false), ("", false), ("NaN", false)] {
            assert_eq!(check_temperature(value).is_ok(), good, "{value}");
        }
        assert_eq!(boolean("stream", "True").ok(), Some(true));
        assert_eq!(boolean("stream", "maybe").expect_err("neither").json()["error"]["param"], "stream");
    }
}
