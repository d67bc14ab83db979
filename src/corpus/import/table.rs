//! Tables: CSV and TSV files with a column of recordings and a column of texts; those of Common Voice and LJ Speech.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};

use super::listing::Listing;
use super::reader::{Reader, entry, one_line, read_text};
use crate::corpus::Entry;

/// Number of lines by which a delimiter and the columns are found.
const SAMPLE: usize = 50;
const DELIMITERS: [u8; 4] = [b'\t', b',', b';', b'|'];

const AUDIO_NAMES: [&str; 18] = [
    "audio_filepath",
    "audio_file",
    "audio_path",
    "audio",
    "wav_filename",
    "wav_file",
    "wav_path",
    "wav",
    "file_name",
    "filename",
    "file_path",
    "filepath",
    "file",
    "path",
    "recording",
    "clip",
    "sound",
    "id",
];
const TEXT_NAMES: [&str; 14] = [
    "normalized_transcription",
    "normalized_text",
    "text",
    "transcript",
    "transcription",
    "sentence",
    "utterance",
    "words",
    "word",
    "label",
    "command",
    "phrase",
    "prompt",
    "said",
];
const SPEAKER_NAMES: [&str; 7] =
    ["speaker", "speaker_id", "client_id", "spk", "spk_id", "speaker_name", "user"];

/// The columns that are read, by number from 0.
#[derive(Clone, Copy, Debug)]
struct Columns {
    audio: usize,
    text: usize,
    speaker: Option<usize>,
    start: Option<usize>,
    end: Option<usize>,
    duration: Option<usize>,
}

/// How a table is read.
#[derive(Clone, Copy, Debug)]
struct Layout {
    delimiter: u8,
    header: bool,
    columns: Columns,
}

/// A row with its line.
type Row = (usize, StringRecord);

fn tables(listing: &Listing) -> Vec<PathBuf> {
    match listing.chosen() {
        // Whatever its name is: the user has chosen it.
        Some(path) => vec![path.to_path_buf()],
        None => listing.with_extension(&["csv", "tsv"]),
    }
}

pub fn detect(listing: &Listing) -> bool {
    let is_text = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"));
    let is_other = |path: &Path| is_text(path) && listing.beside(path).is_some();
    tables(listing).iter().any(|path| {
        let known = ["jsonl", "json", "textgrid"];
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        !is_other(path) && !extension.is_some_and(|e| known.contains(&e.as_str()))
    })
}

pub fn read(reader: &mut Reader<'_>) {
    for path in tables(reader.listing) {
        let Some(text) = reader.text(&path) else { continue };
        match guess(reader, &path, &text) {
            Ok(layout) => read_table(reader, &path, &text, layout),
            Err(problem) => reader.leave_out(&path, 0, problem),
        }
    }
}

pub fn common_voice_detect(listing: &Listing) -> bool {
    listing.with_extension(&["tsv"]).iter().any(|path| is_common_voice(path))
}

fn is_common_voice(path: &Path) -> bool {
    let header = read_text(path).ok().and_then(|text| text.lines().next().map(str::to_string));
    header.is_some_and(|line| {
        let names: Vec<&str> = line.split('\t').collect();
        ["client_id", "path", "sentence"].iter().all(|name| names.contains(name))
    })
}

/// Reads `validated.tsv`, else `train.tsv`, `dev.tsv` and `test.tsv`, else all.
pub fn common_voice_read(reader: &mut Reader<'_>) {
    let all = reader.listing.with_extension(&["tsv"]);
    let all: Vec<PathBuf> = all.into_iter().filter(|path| is_common_voice(path)).collect();
    let with_names = |names: &[&str]| -> Vec<PathBuf> {
        let is =
            |path: &&PathBuf| path.file_name().is_some_and(|name| names.iter().any(|known| name == *known));
        all.iter().filter(is).cloned().collect()
    };
    let choices =
        [with_names(&["validated.tsv"]), with_names(&["train.tsv", "dev.tsv", "test.tsv"]), all.clone()];
    for path in choices.into_iter().find(|paths| !paths.is_empty()).unwrap_or_default() {
        let Some(text) = reader.text(&path) else { continue };
        match guess_columns(reader, &path, &rows(&text, b'\t')) {
            Ok((columns, header)) => {
                read_table(reader, &path, &text, Layout { delimiter: b'\t', header, columns })
            }
            Err(problem) => reader.leave_out(&path, 0, problem),
        }
    }
}

fn ljspeech_files(listing: &Listing) -> Vec<PathBuf> {
    let has_bars = |path: &Path| {
        let first = read_text(path).ok().and_then(|text| text.lines().next().map(str::to_string));
        first.is_some_and(|line| line.contains('|') && !line.contains('\t'))
    };
    listing.named("metadata.csv").into_iter().filter(|path| has_bars(path)).collect()
}

pub fn ljspeech_detect(listing: &Listing) -> bool {
    !ljspeech_files(listing).is_empty()
}

/// Reads `name|text|text with numbers in words`, of which the last is used.
pub fn ljspeech_read(reader: &mut Reader<'_>) {
    for path in ljspeech_files(reader.listing) {
        let Some(text) = reader.text(&path) else { continue };
        let last = text.lines().next().map_or(1, |line| line.matches('|').count());
        let columns = Columns { audio: 0, text: last, speaker: None, start: None, end: None, duration: None };
        read_table(reader, &path, &text, Layout { delimiter: b'|', header: false, columns });
    }
}

/// The rows of a table. Quotes count only in CSV: corpora in TSV and with bars have them unescaped in their texts.
fn rows(text: &str, delimiter: u8) -> Vec<Row> {
    let is_quoted = matches!(delimiter, b',' | b';');
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter).quoting(is_quoted);
    let bytes = text.as_bytes();
    // Reading from memory cannot fail, and rows may have any number of cells.
    let (mut line, mut counted) = (1, 0);
    let rows = builder.from_reader(bytes).into_records().filter_map(|row| row.ok()).map(|row| {
        // The reader counts blank lines, and the end of the line before, as a part of the row.
        let begin = row.position().map_or(counted, |place| place.byte() as usize);
        let breaks = bytes.iter().skip(begin).take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let begin = (begin + breaks).clamp(counted, bytes.len());
        line += bytes[counted..begin].iter().filter(|&&b| b == b'\n').count();
        counted = begin;
        (line, row)
    });
    rows.collect()
}

/// A cell without white space and, in tables without quotes of their own, without a spreadsheet's quotes.
fn cell(row: &StringRecord, column: usize) -> String {
    let text = row.get(column).unwrap_or_default().trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inner.filter(|inner| !inner.replace("\"\"", "").contains('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_string(),
    }
}

fn is_row_of_cells((_, row): &&Row) -> bool {
    row.iter().any(|cell| !cell.trim().is_empty())
}

/// Finds the delimiter, the header and the columns.
fn guess(reader: &mut Reader<'_>, path: &Path, text: &str) -> Result<Layout, String> {
    let sample: String = text.lines().take(SAMPLE).flat_map(|line| [line, "\n"]).collect();
    let mut best: Option<(usize, u8)> = None;
    for delimiter in DELIMITERS {
        let rows = rows(&sample, delimiter);
        let files = FoundFiles::of(reader, path, &rows);
        let count = files.by_column.values().max().copied().unwrap_or(0);
        if count > best.map_or(0, |(most, _)| most) {
            best = Some((count, delimiter));
        }
    }
    let by_cells =
        || DELIMITERS.into_iter().max_by_key(|&d| rows(&sample, d).first().map_or(0, |(_, row)| row.len()));
    let delimiter = best.map(|(_, delimiter)| delimiter).or_else(by_cells).unwrap_or(b',');
    let (columns, header) = guess_columns(reader, path, &rows(&sample, delimiter))?;
    Ok(Layout { delimiter, header, columns })
}

/// The cells that name recordings, in rows with at least two cells.
struct FoundFiles {
    by_column: HashMap<usize, usize>,
    in_first_row: bool,
}

impl FoundFiles {
    fn of(reader: &Reader<'_>, path: &Path, rows: &[Row]) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut found = Self { by_column: HashMap::new(), in_first_row: false };
        for (number, (_, row)) in rows.iter().filter(is_row_of_cells).take(SAMPLE).enumerate() {
            for column in (0..row.len()).filter(|_| row.len() >= 2) {
                let name = cell(row, column);
                // Several files of a name are an error later, but tell that this is the column.
                let is_file = match reader.listing.find(folder, &name) {
                    Ok(_) => true,
                    Err(problem) => problem.contains("are named"),
                };
                if is_file && !name.is_empty() {
                    *found.by_column.entry(column).or_default() += 1;
                    found.in_first_row |= number == 0;
                }
            }
        }
        found
    }
}

/// The columns by the options, by the names in the header, or by what they contain; and whether there is a header.
fn guess_columns(reader: &mut Reader<'_>, path: &Path, rows: &[Row]) -> Result<(Columns, bool), String> {
    let rows: Vec<&Row> = rows.iter().filter(is_row_of_cells).take(SAMPLE).collect();
    let Some((_, first)) = rows.first() else { return Err("the table has no rows".into()) };
    let owned: Vec<Row> = rows.iter().map(|row| (*row).clone()).collect();
    let files = FoundFiles::of(reader, path, &owned);
    let names: Vec<String> =
        (0..first.len()).map(|i| cell(first, i).to_lowercase().replace([' ', '-'], "_")).collect();
    let known = |wanted: &[&str]| wanted.iter().find_map(|name| names.iter().position(|found| found == name));
    let options = reader.options;
    let named: Vec<&String> = [&options.audio_column, &options.text_column, &options.speaker_column]
        .into_iter()
        .flatten()
        .collect();
    let is_name = |name: &str| name.parse::<usize>().is_err();
    let header = !files.in_first_row
        && (known(&AUDIO_NAMES).is_some() || known(&TEXT_NAMES).is_some() || !files.by_column.is_empty())
        || named.iter().any(|name| is_name(name));
    let by_option = |wanted: &Option<String>| -> Result<Option<usize>, String> {
        let Some(wanted) = wanted else { return Ok(None) };
        let folded = wanted.to_lowercase().replace([' ', '-'], "_");
        let column = match wanted.parse::<usize>() {
            Ok(number) => number.checked_sub(1).filter(|&column| column < first.len()),
            Err(_) => names.iter().position(|name| *name == folded),
        };
        let found = || format!("expected a column `{wanted}`, found {}", names.join(", "));
        column.map(Some).ok_or_else(found)
    };
    let by_name = |wanted: &[&str]| known(wanted).filter(|_| header);
    let most_files = || files.by_column.iter().max_by_key(|&(&column, &count)| (count, usize::MAX - column));
    let by_files = || most_files().map(|(&column, _)| column);
    // A column that is named like one of recordings, but names none, is not preferred to one that does.
    let named_audio =
        by_name(&AUDIO_NAMES).filter(|c| files.by_column.contains_key(c) || files.by_column.is_empty());
    let audio = by_option(&options.audio_column)?
        .or(named_audio)
        .or_else(by_files)
        .ok_or("no column names recordings that are there; name it with --audio-column")?;
    let body = &rows[usize::from(header)..];
    let speaker = by_option(&options.speaker_column)?.or(by_name(&SPEAKER_NAMES));
    let letters = |column: usize| -> usize {
        let cells = body.iter().map(|(_, row)| cell(row, column));
        cells.map(|text| text.chars().filter(|c| c.is_alphabetic()).count()).sum()
    };
    let by_letters = || {
        let others = (0..first.len()).filter(|&c| c != audio && Some(c) != speaker && letters(c) > 0);
        others.max_by_key(|&column| letters(column))
    };
    let text = by_option(&options.text_column)?
        .or(by_name(&TEXT_NAMES).filter(|&column| column != audio))
        .or_else(by_letters)
        .ok_or("no column has texts; name it with --text-column")?;
    let columns = Columns {
        audio,
        text,
        speaker,
        start: by_name(&["start", "offset", "start_time"]),
        end: by_name(&["end", "end_time"]),
        duration: by_name(&["duration"]),
    };
    let name = |column: usize| match header {
        true => format!("{} (`{}`)", column + 1, cell(first, column)),
        false => (column + 1).to_string(),
    };
    let speakers = columns.speaker.map_or("no speakers".to_string(), |c| format!("speakers in {}", name(c)));
    let place = crate::fs::quoted(path);
    let (audio, text) = (name(columns.audio), name(columns.text));
    reader.notes.push(format!("{place}: recordings in column {audio}, texts in {text}, {speakers}"));
    Ok((columns, header))
}

fn read_table(reader: &mut Reader<'_>, path: &Path, text: &str, layout: Layout) {
    let Layout { delimiter, header, columns } = layout;
    let rows = rows(text, delimiter);
    let rows: Vec<&Row> = rows.iter().filter(is_row_of_cells).collect();
    let width = rows.first().map_or(0, |(_, row)| row.len());
    for (line, row) in rows.into_iter().skip(usize::from(header)) {
        if let Some(cell) = row.iter().find(|cell| cell.contains('\n')) {
            let lines = cell.lines().count();
            let problem = format!(
                "a text in quotes begins here, and the lines up to its end were left out: {lines} lines"
            );
            reader.leave_out(path, *line, problem);
            continue;
        }
        if row.len() != width {
            let problem = format!("expected {width} columns as in the first line, found {}", row.len());
            let quotes = matches!(delimiter, b',' | b';').then_some("; texts with the delimiter need quotes");
            reader.leave_out(path, *line, problem + quotes.unwrap_or_default());
            continue;
        }
        match time_of(row, columns) {
            Ok((offset, duration)) => {
                let speaker = columns.speaker.map(|c| cell(row, c)).filter(|speaker| !speaker.is_empty());
                let text = one_line(&cell(row, columns.text));
                let found = Entry { speaker, offset, duration, ..entry(PathBuf::new(), text) };
                reader.add_named(path, *line, &cell(row, columns.audio), found);
            }
            Err(problem) => reader.leave_out(path, *line, problem),
        }
    }
}

/// Start and length of the part of the recording; a length alone is that of the file.
fn time_of(row: &StringRecord, columns: Columns) -> Result<(Option<f64>, Option<f64>), String> {
    let seconds = |column: Option<usize>| -> Result<Option<f64>, String> {
        let Some(text) = column.map(|c| cell(row, c)).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| format!("expected a time in seconds, found `{text}`"))
    };
    let Some(start) = seconds(columns.start)? else { return Ok((None, None)) };
    let length = match seconds(columns.end)? {
        Some(end) if end <= start => return Err(format!("expected an end after {start} s, found {end} s")),
        Some(end) => Some(end - start),
        None => seconds(columns.duration)?,
    };
    Ok((Some(start), length))
}
