//! The document: `docs/performance.md` and its plots.
//!
//! What a run came to stands between two marks and is replaced as a whole; everything around them is
//! written by people, and stays.

mod plots;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Failure,
    figures::{Figures, Row},
    runner::Bound,
    table,
};

const DOCUMENT: &str = "performance.md";
/// Of the plots, beside the document.
const PLOTS: &str = "performance";
const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

/// Fails where there is no place for the figures.
pub(crate) fn check() -> Result<(), Failure> {
    replaced(&read(&directory().join(DOCUMENT))?, "").map(drop)
}

/// Writes the document anew, and says where it is.
pub(crate) fn write(figures: &Figures) -> Result<PathBuf, Failure> {
    write_into(&directory(), figures)
}

/// Where the documents of this repository are.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(document: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(document);
    text.map_err(|error| format!("{}: {error}", document.display()).into())
}

fn write_into(directory: &Path, figures: &Figures) -> Result<PathBuf, Failure> {
    let document = directory.join(DOCUMENT);
    let (text, plots) = contents(figures)?;
    let text = replaced(&read(&document)?, &text)?;
    let beside = directory.join(PLOTS);
    fs::create_dir_all(&beside)?;
    remove_plots(&beside)?;
    for (name, svg) in plots {
        fs::write(beside.join(name), svg)?;
    }
    fs::write(&document, text)?;
    Ok(document)
}

/// Those of earlier runs, of which some may have no successor.
fn remove_plots(directory: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The document with other figures between its marks.
fn replaced(document: &str, figures: &str) -> Result<String, Failure> {
    let wanted = format!("{DOCUMENT} has to have {BEGIN} once and {END} once after it");
    let (before, rest) = document.split_once(BEGIN).ok_or(wanted.as_str())?;
    let (old, after) = rest.split_once(END).ok_or(wanted.as_str())?;
    if [before, old, after]
        .iter()
        .any(|part| part.contains(BEGIN) || part.contains(END))
    {
        return Err(wanted.into());
    }
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        figures.trim()
    ))
}

/// A plot's name, and the plot.
type Plot = (String, String);

/// What stands between the marks, and the plots that it shows.
fn contents(figures: &Figures) -> Result<(String, Vec<Plot>), Failure> {
    let mut text = String::new();
    let mut plots = vec![];
    let took = table::span(std::time::Duration::from_secs_f64(figures.seconds));
    writeln!(
        text,
        "Measured on {}, in {took}: {}.\n",
        figures.date, figures.machine
    )?;
    let mut how = table::how(figures.scale);
    how[..1].make_ascii_uppercase();
    writeln!(
        text,
        "{how}. In all, {}.\n",
        figures.counts().show(figures.scale)
    )?;
    if let Some(svg) = plots::overview(&figures.rows)? {
        let alt = "how many times better than its bound each ratio is";
        show(&mut text, &mut plots, "overview.svg".to_owned(), alt, svg)?;
    }
    let mut parts: Vec<&str> = vec![];
    for row in &figures.rows {
        if !parts.contains(&row.part.as_str()) {
            parts.push(&row.part);
        }
    }
    for name in parts {
        let rows = figures.rows.iter().filter(|row| row.part == name);
        part(&mut text, &mut plots, name, &rows.collect::<Vec<_>>())?;
    }
    Ok((text, plots))
}

/// One part: a plot for each of its measures, a table, and the notes.
fn part(
    text: &mut String,
    plots: &mut Vec<Plot>,
    part: &str,
    rows: &[&Row],
) -> Result<(), Failure> {
    writeln!(text, "## {}\n", capitalised(part))?;
    for (measure, svg) in plots::bars(rows)? {
        let name = slug(&format!("{part} {measure}"));
        show(
            text,
            plots,
            format!("{name}.svg"),
            &format!("{part}: {measure}"),
            svg,
        )?;
    }
    writeln!(
        text,
        "| setting | beside | ours | theirs | ratio | spread | bound | |"
    )?;
    writeln!(text, "|---|---|---:|---:|---:|---:|---:|---|")?;
    for row in rows {
        writeln!(
            text,
            "| {} |",
            cells(row).map(|cell| escaped(&cell)).join(" | ")
        )?;
    }
    writeln!(text)?;
    notes(text, rows)
}

fn cells(row: &Row) -> [String; 8] {
    [
        row.setting.clone(),
        row.against.clone(),
        row.show(row.ours),
        row.show(row.theirs),
        row.ratio.map(table::ratio).unwrap_or_default(),
        row.spread(),
        row.bound.map(bound_text).unwrap_or_default(),
        verdict(row),
    ]
}

fn verdict(row: &Row) -> String {
    if let Some(failed) = &row.failed {
        return format!("**failed**: {failed}");
    }
    if let Some(missing) = &row.not_run {
        return format!("not run: {missing}");
    }
    let verdict = match row.met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    verdict.to_owned()
}

/// What has to be known of those that we are beside, each once.
fn notes(text: &mut String, rows: &[&Row]) -> Result<(), Failure> {
    let mut seen = vec![];
    for row in rows {
        let Some(note) = &row.note else {
            continue;
        };
        if !seen.contains(&(&row.against, note)) {
            writeln!(text, "- {}: {note}.", row.against)?;
            seen.push((&row.against, note));
        }
    }
    if !seen.is_empty() {
        writeln!(text)?;
    }
    Ok(())
}

fn show(
    text: &mut String,
    plots: &mut Vec<Plot>,
    name: String,
    alt: &str,
    svg: String,
) -> Result<(), Failure> {
    writeln!(text, "![{alt}]({PLOTS}/{name})\n")?;
    plots.push((name, svg));
    Ok(())
}

fn bound_text(bound: Bound) -> String {
    match bound {
        Bound::AtMost(bound) => format!("≤ {bound}"),
        Bound::AtLeast(bound) => format!("≥ {bound}"),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Fit for the name of a file and for a link to it.
fn slug(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}

/// A bar would end the cell.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::made_up;

    #[test]
    fn what_people_wrote_stays() {
        let before = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nWhy it is so.\n");
        let once = replaced(&before, "new\n").unwrap();
        let expected = format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nWhy it is so.\n");
        assert_eq!(once, expected);
        assert_eq!(replaced(&once, "new").unwrap(), once);
    }

    #[test]
    fn marks_that_are_not_there_once_are_an_error() {
        for document in [
            "",
            BEGIN,
            END,
            &format!("{END}{BEGIN}"),
            &format!("{BEGIN}{END}{BEGIN}{END}"),
            &format!("{END}{BEGIN}{END}"),
        ] {
            let error = replaced(document, "new").unwrap_err().to_string();
            assert!(error.contains(BEGIN) && error.contains(END), "{error}");
        }
    }

    #[test]
    fn the_document_of_this_repository_has_its_marks() {
        check().unwrap();
    }

    #[test]
    fn a_document_has_all_rows_and_its_plots_and_no_old_ones() {
        let directory = tempfile::tempdir().unwrap();
        let (document, plots) = (
            directory.path().join(DOCUMENT),
            directory.path().join(PLOTS),
        );
        fs::write(&document, format!("{BEGIN}{END}")).unwrap();
        fs::create_dir(&plots).unwrap();
        fs::write(plots.join("old.svg"), "").unwrap();
        write_into(directory.path(), &made_up()).unwrap();
        let text = fs::read_to_string(&document).unwrap();
        let row = "| 64 B | raw | 2.0 us | 2.0 us | 1.00 | 0.50-2.00 | ≤ 1.15 | met |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("not run: node is not here"), "{text}");
        let mut names: Vec<_> = fs::read_dir(&plots)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["overview.svg", "round-trip-time.svg"]);
        for name in names {
            assert!(text.contains(&format!("({PLOTS}/{name})")), "{text}");
            let svg = fs::read_to_string(plots.join(name)).unwrap();
            assert!(svg.contains("<text") && svg.contains("64 B"), "{svg}");
        }
    }

    #[test]
    fn cells_and_names_are_harmless() {
        assert_eq!(escaped("a | b"), "a \\| b");
        assert_eq!(slug("Logs: CPU time, a MB"), "logs-cpu-time-a-mb");
        assert_eq!(capitalised("round trip"), "Round trip");
    }
}
