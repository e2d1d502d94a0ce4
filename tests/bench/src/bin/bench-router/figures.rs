//! Figures of rounds, and aims.

/// Values of one thing, a round each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// How far the middle half is apart, as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.at(0.75) - self.at(0.25)) / self.median()
    }

    /// The greatest.
    pub(crate) fn most(&self) -> f64 {
        self.at(1.0)
    }

    /// These as shares of others, round by round: what made a round slow made both slow.
    pub(crate) fn over(&self, others: &Self) -> Self {
        Self(self.0.iter().zip(&others.0).map(|(value, other)| value / other).collect())
    }

    /// These and others together, round by round.
    pub(crate) fn sum(&self, others: &Self) -> Self {
        Self(self.0.iter().zip(&others.0).map(|(value, other)| value + other).collect())
    }

    fn at(&self, share: f64) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// What should hold, and whether it does.
#[derive(Debug, Default)]
pub(crate) struct Aims(Vec<(String, bool)>);

impl Aims {
    /// That a figure is at most so much.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        self.add(format!("{what}: {value:.3}, at most {limit}"), value <= limit);
    }

    /// That a figure is at least so much.
    pub(crate) fn at_least(&mut self, what: &str, value: f64, limit: f64) {
        self.add(format!("{what}: {value:.3}, at least {limit}"), value >= limit);
    }

    fn add(&mut self, text: String, holds: bool) {
        self.0.push((text, holds));
    }

    pub(crate) fn print(&self) {
        println!();
        for (text, holds) in &self.0 {
            println!("{:<16} {text}", if *holds { "holds" } else { "DOES NOT HOLD" });
        }
    }
}
