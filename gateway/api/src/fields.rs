//! Checks the fields of a request, and remembers what is wrong with which.

use std::time::Duration;

use natsgate_core::Violation;
use natsgate_core::pushed::write::text_problem;
use tonic::Status;

use crate::refusal;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Fields(Vec<Violation>);

impl Fields {
    /// `field` is wrong.
    pub fn say(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation {
            field: field.into(),
            problem: problem.into(),
        });
    }

    /// `field` must be a text, of `longest` bytes at most.
    pub fn text(&mut self, field: &str, text: &str, longest: usize) {
        if let Some(problem) = text_problem(text, longest) {
            self.say(field, problem);
        }
    }

    /// `field` may be left empty.
    pub fn optional_text(&mut self, field: &str, text: &str, longest: usize) {
        if !text.is_empty() {
            self.text(field, text, longest);
        }
    }

    /// `field` is a time, `most` at most, or left out.
    pub fn duration(
        &mut self,
        field: &str,
        duration: Option<prost_types::Duration>,
        most: Duration,
    ) -> Option<Duration> {
        let duration = duration?;
        match Duration::try_from(duration) {
            Ok(duration) if duration <= most => Some(duration),
            Ok(_) => {
                self.say(field, format!("must be {} s at most", most.as_secs()));
                None
            }
            Err(_) => {
                self.say(field, "must not be negative");
                None
            }
        }
    }

    /// The size of a page: `size`, or `unless` for 0; `most` at most.
    pub fn page_size(&mut self, size: u32, unless: u32, most: u32) -> usize {
        if size > most {
            self.say("page_size", format!("must be {most} at most"));
        }
        let size = if size == 0 { unless } else { size.min(most) };
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// An error if anything is wrong.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, with what is wrong.
    pub fn check(self) -> Result<(), Status> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(refusal::invalid(&self.0))
        }
    }
}
