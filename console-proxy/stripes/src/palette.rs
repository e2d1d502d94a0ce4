//! The colours of tiles, as long as they are few.

/// Most colours of an indexed image.
pub(crate) const MAX_COLOURS: usize = 256;

/// Places of the table: a power of two, four times the colours, so that few are tried.
const PLACES: usize = 1024;

/// Colours in the order in which they were met, and an index of them.
#[derive(Debug, Clone)]
pub(crate) struct Palette {
    colours: Vec<u32>,
    /// A colour's number plus one at the place of its hash, or the next free one.
    places: Box<[u16; PLACES]>,
    /// The colour that was met last, and its number: mostly it is met again.
    last: Option<(u32, u8)>,
}

impl Palette {
    pub(crate) fn new() -> Self {
        Self { colours: Vec::with_capacity(MAX_COLOURS), places: Box::new([0; PLACES]), last: None }
    }

    /// Forgets all colours.
    pub(crate) fn clear(&mut self) {
        self.colours.clear();
        self.places.fill(0);
        self.last = None;
    }

    pub(crate) fn colours(&self) -> &[u32] {
        &self.colours
    }

    /// The colour's number, which it gets when it is new; none if there are too many.
    pub(crate) fn number(&mut self, colour: u32) -> Option<u8> {
        match self.last {
            Some((last, number)) if last == colour => Some(number),
            _ => {
                let number = self.look_up(colour)?;
                self.last = Some((colour, number));
                Some(number)
            }
        }
    }

    fn look_up(&mut self, colour: u32) -> Option<u8> {
        let mut place = (colour.wrapping_mul(0x9e37_79b1) >> 22) as usize;
        loop {
            match self.places[place] {
                0 if self.colours.len() == MAX_COLOURS => return None,
                0 => {
                    self.colours.push(colour);
                    self.places[place] = self.colours.len() as u16;
                    return Some((self.colours.len() - 1) as u8);
                }
                number if self.colours[usize::from(number) - 1] == colour => return Some((number - 1) as u8),
                _ => place = (place + 1) % PLACES,
            }
        }
    }

    /// Takes all of these colours, or none if there would be too many.
    pub(crate) fn take(&mut self, colours: &[u32]) -> Option<()> {
        let before = self.colours.len();
        let fits = colours.iter().all(|colour| self.number(*colour).is_some());
        if !fits {
            self.truncate(before);
        }
        fits.then_some(())
    }

    /// Forgets all but the first colours. Their places were made before those of the others, so none is lost.
    fn truncate(&mut self, length: usize) {
        self.colours.truncate(length);
        self.last = None;
        self.places.iter_mut().filter(|number| usize::from(**number) > length).for_each(|number| *number = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_256_colours_have_numbers() {
        let mut palette = Palette::new();
        for number in 0..=255_u8 {
            assert_eq!(palette.number(u32::from(number) * 0x01_0101), Some(number));
        }
        assert_eq!((palette.number(7), palette.number(0x05_0505)), (None, Some(5)));
    }

    #[test]
    fn colours_are_taken_together_or_not_at_all() {
        let mut palette = Palette::new();
        palette.take(&(0..200).collect::<Vec<_>>()).unwrap();
        assert!(palette.take(&(150..300).collect::<Vec<_>>()).is_none());
        assert_eq!(palette.colours().len(), 200);
        palette.take(&(150..256).collect::<Vec<_>>()).unwrap();
        assert_eq!(palette.colours(), (0..256).collect::<Vec<_>>());
    }
}
