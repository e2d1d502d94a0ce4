//! A build's progress: numbered, named steps with the time each took, one line each; two, each with the build's name, where other
//! builds show theirs beside.

use std::io::Write;
use std::time::Instant;

/// Says which step of how many is under way.
pub struct Steps<'a> {
    to: &'a mut dyn Write,
    total: usize,
    at: usize,
    /// Whose steps they are, if others are shown beside.
    label: Option<&'a str>,
}

impl<'a> Steps<'a> {
    /// No step is done yet of so many.
    pub fn new(to: &'a mut dyn Write, total: usize) -> Self {
        Self { to, total, at: 0, label: None }
    }

    /// The same of a build beside others.
    pub fn labelled(self, label: &'a str) -> Self {
        Self { label: Some(label), ..self }
    }

    /// Does one step: its name is shown when it begins, its time when it is done.
    ///
    /// # Errors
    /// What the work says.
    pub fn run<T, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.at += 1;
        debug_assert!(self.at <= self.total, "the recipe says that it has {} steps", self.total);
        let step = format!("[{}/{}] {name} …", self.at, self.total);
        // Progress that cannot be shown is no reason to stop.
        let _ = match self.label {
            Some(label) => writeln!(self.to, "{label} {step}"),
            None => write!(self.to, "{step} "),
        };
        let _ = self.to.flush();
        let start = Instant::now();
        let result = work();
        let end = match &result {
            Ok(_) => format!("{:.1} s", start.elapsed().as_secs_f64()),
            Err(_) => "failed".to_owned(),
        };
        let _ = match self.label {
            Some(label) => writeln!(self.to, "{label} {step} {end}"),
            None => writeln!(self.to, "{end}"),
        };
        result
    }

    /// Says something that is not a step.
    pub fn say(&mut self, text: &str) {
        let _ = match self.label {
            Some(label) => writeln!(self.to, "{label}: {text}"),
            None => writeln!(self.to, "{text}"),
        };
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

    #[test]
    fn beside_others_each_line_is_whole_and_says_whose_it_is() {
        let mut shown = Vec::new();
        let mut steps = Steps::new(&mut shown, 1).labelled("router");
        steps.say("waiting");
        steps.run("unpack", || Ok::<(), ()>(())).unwrap();
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "router: waiting\nrouter [1/1] unpack …\nrouter [1/1] unpack … 0.0 s\n"
        );
    }
}
