//! A build's progress: numbered, named steps with the time each took, one line each.

use std::io::Write;
use std::time::Instant;

/// Says which step of how many is under way.
pub struct Steps<'a> {
    to: &'a mut dyn Write,
    total: usize,
    at: usize,
}

impl<'a> Steps<'a> {
    /// No step is done yet of so many.
    pub fn new(to: &'a mut dyn Write, total: usize) -> Self {
        Self { to, total, at: 0 }
    }

    /// Does one step: its name is shown when it begins, its time when it is done.
    ///
    /// # Errors
    /// What the work says.
    pub fn run<T, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.at += 1;
        debug_assert!(self.at <= self.total, "the recipe says that it has {} steps", self.total);
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(self.to, "[{}/{}] {name} … ", self.at, self.total);
        let _ = self.to.flush();
        let start = Instant::now();
        let result = work();
        let _ = match &result {
            Ok(_) => writeln!(self.to, "{:.1} s", start.elapsed().as_secs_f64()),
            Err(_) => writeln!(self.to, "failed"),
        };
        result
    }

    /// Says something that is not a step.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.to, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_number_the_name_and_how_it_went() {
        let mut shown = Vec::new();
        let mut steps = Steps::new(&mut shown, 2);
        steps.run("fetch packages", || Ok::<(), ()>(())).unwrap();
        steps.run("unpack", || Err::<(), ()>(())).unwrap_err();
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "[1/2] fetch packages … 0.0 s\n[2/2] unpack … failed\n"
        );
    }
}
