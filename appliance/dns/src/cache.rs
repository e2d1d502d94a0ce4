//! Answers of forwarders, kept for as long as they may be, within a bound of memory.
//!
//! What has been used since it was last looked at stays when room is needed, once (the "second chance" order): close to
//! least recently used, without moving anything when it is read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::response::Response;

/// The largest answer that is kept, in bytes: larger ones are rare, and would push out many others.
const MAX_SIZE: usize = 16 << 10;

/// What an entry takes besides its key and answer, in bytes: its part of the table and the queue.
const OVERHEAD: usize = 96;

/// Answers by question.
pub(crate) struct Cache {
    entries: HashMap<Arc<[u8]>, Entry>,
    order: VecDeque<Arc<[u8]>>,
    bytes: usize,
    max_bytes: usize,
    max_entries: usize,
}

struct Entry {
    response: Response,
    born: Duration,
    ends: Duration,
    is_used: bool,
}

impl Cache {
    pub(crate) fn new(max_bytes: usize, max_entries: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), bytes: 0, max_bytes, max_entries }
    }

    /// The answer to a question and its age, if there is one that is still true.
    pub(crate) fn get(&mut self, now: Duration, key: &[u8]) -> Option<(&Response, Duration)> {
        let entry = self.entries.get_mut(key).filter(|entry| now < entry.ends)?;
        entry.is_used = true;
        Some((&entry.response, now.saturating_sub(entry.born)))
    }

    /// Keeps an answer if it may be kept.
    pub(crate) fn put(&mut self, now: Duration, key: &[u8], response: Response) {
        let Some(lifetime) = response.lifetime.filter(|_| response.size() <= MAX_SIZE) else { return };
        let entry = Entry { response, born: now, ends: now + lifetime, is_used: false };
        self.bytes += cost(key, &entry);
        if let Some(place) = self.entries.get_mut(key) {
            self.bytes -= cost(key, place);
            *place = entry;
        } else {
            let key: Arc<[u8]> = key.into();
            self.order.push_back(key.clone());
            self.entries.insert(key, entry);
        }
        while self.bytes > self.max_bytes || self.entries.len() > self.max_entries {
            self.make_room(now);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.max_bytes, self.max_entries);
    }

    /// Looks at the oldest entry: it goes, or gets its second chance.
    fn make_room(&mut self, now: Duration) {
        let Some(key) = self.order.pop_front() else { return };
        match self.entries.get_mut(&key) {
            Some(entry) if entry.is_used && now < entry.ends => {
                entry.is_used = false;
                self.order.push_back(key);
            }
            _ => {
                let gone = self.entries.remove(&key);
                self.bytes -= gone.map_or(0, |entry| cost(&key, &entry));
            }
        }
    }
}

/// The memory of an entry in bytes.
fn cost(key: &[u8], entry: &Entry) -> usize {
    OVERHEAD + key.len() + size_of::<Entry>() - size_of::<Response>() + entry.response.size()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with one record and a TTL of a minute.
    fn response() -> Response {
        let mut packet =
            b"\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01".to_vec();
        packet.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04");
        Response::read(&packet, &packet[12..19]).unwrap()
    }

    fn key(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    #[test]
    fn memory_and_entries_are_bounded_and_what_is_used_stays() {
        let mut cache = Cache::new(20_000, 50);
        for number in 0..10_000 {
            cache.put(Duration::ZERO, &key(number), response());
            assert!(cache.get(Duration::ZERO, &key(0)).is_some(), "{number}");
            assert!(cache.bytes <= 20_000 && cache.entries.len() <= 50);
            assert_eq!(cache.order.len(), cache.entries.len());
        }
        assert!(cache.get(Duration::ZERO, &key(1)).is_none());
        cache.clear();
        assert_eq!((cache.bytes, cache.entries.len()), (0, 0));
    }

    #[test]
    fn bytes_alone_push_out_too() {
        let mut cache = Cache::new(2_000, 1_000_000);
        (0..100).for_each(|number| cache.put(Duration::ZERO, &key(number), response()));
        assert!(cache.bytes <= 2_000 && !cache.entries.is_empty());
    }

    #[test]
    fn nothing_is_given_from_the_moment_it_ends() {
        let mut cache = Cache::new(20_000, 50);
        cache.put(Duration::from_secs(5), b"a", response());
        assert!(cache.get(Duration::from_millis(64_999), b"a").is_some());
        assert!(cache.get(Duration::from_secs(65), b"a").is_none());
    }
}
