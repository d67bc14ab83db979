//! The page of `hearken unfold`: the picture, whose steps t-1, t and t+1 move over the recording.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::figure::{self, SEQUENCE};
use super::svg::Svg;
use super::{Part, Unfolded};
use crate::audio::f32_to_s16;
use crate::text::phrases::escape_xml;

/// The page for a part of the values.
pub(super) fn page(unfolded: &Unfolded, part: &Part) -> String {
    let values = |t: usize| {
        let mut svg = Svg::part();
        figure::step_values(&mut svg, unfolded, part, t);
        svg.into_elements()
    };
    let titles = |t: usize| [0, 1, 2].map(|column| figure::step_title(unfolded, column, t));
    let data = json!({
        "steps": part.steps.clone().map(values).collect::<Vec<_>>(),
        "titles": part.steps.clone().map(titles).collect::<Vec<_>>(),
        "t": part.t - part.steps.start,
        "seconds": unfolded.step,
        "left": SEQUENCE.0,
        "right": SEQUENCE.1,
    });
    // The end of the element must not occur in it.
    let data = data.to_string().replace("</", "<\\/");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}, unfolded in time</title>\
         <link rel=\"icon\" href=\"data:,\"><style>\n{css}</style></head>\n<body>\n\
         <nav><button id=\"back\" aria-label=\"step back\">◀</button>\
         <input id=\"t\" type=\"range\" min=\"1\" max=\"{last}\" value=\"{t}\" aria-label=\"step t\">\
         <button id=\"on\" aria-label=\"step on\">▶</button><output></output>\
         <audio controls src=\"data:audio/wav;base64,{sound}\"></audio>\
         <small>Arrow keys: one step; with Shift: ten. Click the sequence to go to a time.</small></nav>\n\
         <main>{svg}</main>\n<script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{script}</script>\n</body></html>\n",
        title = escape_xml(&unfolded.name),
        css = include_str!("page.css"),
        script = include_str!("page.js"),
        last = part.steps.len() - 2,
        t = part.t - part.steps.start,
        sound = STANDARD.encode(wav(unfolded, part)),
        svg = figure::figure(unfolded, part),
    )
}

/// The sound of the part as a WAV file with 16-bit samples.
fn wav(unfolded: &Unfolded, part: &Part) -> Vec<u8> {
    let rate = unfolded.sample_rate;
    let at = |step: usize| (step as f64 * unfolded.step * f64::from(rate)) as usize;
    let end = at(part.steps.end).min(unfolded.samples.len());
    let samples = unfolded.samples.get(at(part.steps.start)..end).unwrap_or_default();
    let bytes = (samples.len() * 2) as u32;
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    // PCM, one channel.
    [1u16, 1].into_iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
    [rate, rate * 2].into_iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
    [2u16, 16].into_iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    samples.iter().for_each(|&sample| file.extend_from_slice(&f32_to_s16(sample).to_le_bytes()));
    file
}
