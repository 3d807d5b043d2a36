//! The file that `VIRTNET_TRACE` names: HTML, Chrome's trace event format, or text, by extension.

use std::path::Path;

use crate::check::failure::Failure;
use crate::check::report::chrome_trace::chrome_trace;
use crate::check::report::html::html_page;
use crate::check::report::text::Report;
use crate::check::report::timeline::Timeline;

/// Says what is wrong with a file, in one sentence.
fn path_error(file: &Path, reason: &str) -> String {
    format!("virtnet: VIRTNET_TRACE={}: {reason}", file.display())
}

/// Looks whether there is a place for the file, before anything is run for it.
pub(crate) fn check_writable(file: &Path) -> Result<(), String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        _ if file.is_dir() => Err(path_error(file, "it is a folder; expected a file, as run.html")),
        Some(folder) if !folder.is_dir() => {
            Err(path_error(file, &format!("there is no folder {}", folder.display())))
        }
        _ => Ok(()),
    }
}

/// Writes what is told of the run of a report, whose records were kept.
pub(crate) fn write(file: &Path, report: &Report) -> Result<(), String> {
    let Some(original) = &report.failed_run else { return Ok(()) };
    let Some(trace) = &original.trace else {
        let is_hung = original.failure.as_ref().is_some_and(Failure::is_hung);
        return Err(path_error(
            file,
            if is_hung {
                "the run did not come back, and its records were in the process that was ended"
            } else {
                "the run has taken its process along, and its records with it"
            },
        ));
    };
    let extension = file.extension().map(|extension| extension.to_ascii_lowercase());
    let text = match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => html_page(&Timeline::new(report, original)),
        Some("json") => chrome_trace(&Timeline::new(report, original)),
        _ => trace.to_string(),
    };
    std::fs::write(file, text).map_err(|error| path_error(file, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::check_writable;
    use std::path::Path;

    #[test]
    fn unwritable_trace_path_is_an_error_of_one_sentence() {
        let error = |file: &str| check_writable(Path::new(file)).unwrap_err();
        let folder = "virtnet: VIRTNET_TRACE=/: it is a folder; expected a file, as run.html";
        assert_eq!(error("/"), folder);
        let nowhere = "virtnet: VIRTNET_TRACE=/no/where/run.html: there is no folder /no/where";
        assert_eq!(error("/no/where/run.html"), nowhere);
        assert_eq!(check_writable(Path::new("run.html")), Ok(()));
    }
}
