//! Which route a request is for. No path is ever a file's, so there is nothing outside to climb to.

use http::Method;
use podzol_console_proxy_api::Bytes;
use podzol_vocab::ConsoleSessionId;

use super::fault::Fault;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Page,
    Asset(&'a str),
    Exchange,
    Open(ConsoleSessionId),
    Viewer(ConsoleSessionId, &'a str, What),
}

/// What is asked of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Updates,
    Stream,
    Socket,
    Input,
    State,
    Clipboard,
    Leave,
    Serial,
    SerialStream,
    SerialSocket,
    SerialInput,
}

/// The parameters of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Query {
    pub(crate) after: Option<u64>,
    pub(crate) first: Option<u64>,
    /// The number of a poll.
    pub(crate) poll: Option<u64>,
    pub(crate) resume: bool,
}

impl<'a> Route<'a> {
    /// The route of a request.
    ///
    /// # Errors
    /// When there is none, or the method is another.
    pub(crate) fn of(method: &Method, path: &'a str) -> Result<Self, Fault> {
        let parts: Vec<&str> = path.strip_prefix('/').ok_or(Fault::NotFound)?.splitn(8, '/').collect();
        let session = |text: &str| text.parse::<ConsoleSessionId>().map_err(|_| Fault::NotFound);
        let (route, needs) = match *parts {
            [""] => (Self::Page, "GET"),
            ["s", id] => {
                session(id)?;
                (Self::Page, "GET")
            }
            ["assets", name] => (Self::Asset(name), "GET"),
            ["session"] => (Self::Exchange, "POST"),
            ["s", id, "viewers"] => (Self::Open(session(id)?), "POST"),
            ["s", id, "v", viewer, ref rest @ ..] if viewer.parse::<Bytes<16>>().is_ok() => {
                let (what, needs) = what(rest).ok_or(Fault::NotFound)?;
                (Self::Viewer(session(id)?, viewer, what), needs)
            }
            _ => return Err(Fault::NotFound),
        };
        let is_meant = method.as_str() == needs
            || (needs == "GET" && method == Method::HEAD && !matches!(route, Self::Viewer(..)));
        if is_meant { Ok(route) } else { Err(Fault::Method(needs)) }
    }
}

fn what(rest: &[&str]) -> Option<(What, &'static str)> {
    Some(match rest {
        ["updates"] => (What::Updates, "GET"),
        ["stream"] => (What::Stream, "GET"),
        ["socket"] => (What::Socket, "GET"),
        ["input"] => (What::Input, "POST"),
        ["state"] => (What::State, "GET"),
        ["clipboard"] => (What::Clipboard, "GET"),
        ["leave"] => (What::Leave, "POST"),
        ["serial"] => (What::Serial, "GET"),
        ["serial", "stream"] => (What::SerialStream, "GET"),
        ["serial", "socket"] => (What::SerialSocket, "GET"),
        ["serial", "input"] => (What::SerialInput, "POST"),
        _ => return None,
    })
}

impl Query {
    /// Reads them. What is not known is passed over.
    ///
    /// # Errors
    /// When one that is known cannot be read.
    pub(crate) fn of(query: Option<&str>) -> Result<Self, Fault> {
        let mut found = Self::default();
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            let number = || {
                value.parse().map(Some).map_err(|_| Fault::Invalid("after, first and poll must be numbers"))
            };
            match name {
                "after" => found.after = number()?,
                "first" => found.first = number()?,
                "poll" => found.poll = number()?,
                "resume" => found.resume = value == "1",
                _ => {}
            }
        }
        Ok(found)
    }

    /// The last update that the page has applied.
    ///
    /// # Errors
    /// When it is not there, or no update's number.
    pub(crate) fn update(&self) -> Result<u32, Fault> {
        let after = self.after.and_then(|after| u32::try_from(after).ok());
        after.ok_or(Fault::Invalid("after must be there, with at most 32 bits"))
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    const VIEWER: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn each_route_is_found_and_others_are_not() {
        let id = ConsoleSessionId::new();
        let get = |path: &str| {
            Route::of(&Method::GET, path).map(|route| format!("{route:?}")).map_err(|fault| fault.code())
        };
        assert!(get("/").is_ok() && get(&format!("/s/{id}")).is_ok() && get("/assets/a.js").is_ok());
        let updates = format!("/s/{id}/v/{VIEWER}/updates");
        assert_eq!(Route::of(&Method::GET, &updates).unwrap(), Route::Viewer(id, VIEWER, What::Updates));
        for path in [
            "",
            "x",
            "//",
            "/s",
            "/s/",
            "/s/../..",
            "/assets",
            "/assets/a/b",
            "/assets/../x/y",
            "/s/1",
            "/%2e%2e",
            &format!("/s/{id}/"),
            &format!("/s/{id}/v/x/updates"),
            &format!("{updates}/"),
            &format!("{updates}/x/y/z/a"),
            &format!("/s/{id}/v/{VIEWER}"),
        ] {
            assert_eq!(get(path), Err("not_found"), "{path}");
        }
    }

    #[test]
    fn another_method_is_refused() {
        for (method, path) in [(Method::POST, "/"), (Method::GET, "/session"), (Method::PUT, "/session")] {
            assert_eq!(Route::of(&method, path).unwrap_err().code(), "method", "{method} {path}");
        }
        assert!(Route::of(&Method::HEAD, "/").is_ok());
    }

    #[test]
    fn parameters_are_read_in_any_order() {
        let query = Query::of(Some("x=1&resume=1&after=7")).unwrap();
        assert_eq!((query.update().unwrap(), query.resume), (7, true));
        assert!(Query::of(None).unwrap().update().is_err());
        assert!(Query::of(Some("after=-1")).is_err() && Query::of(Some("after=")).is_err());
        assert!(Query::of(Some("after=4294967296")).unwrap().update().is_err());
    }

    #[test]
    fn damaged_paths_and_parameters_lead_nowhere_else() {
        let id = ConsoleSessionId::new();
        let seeds = [
            ("/".to_owned(), ""),
            (format!("/s/{id}"), "after=1"),
            ("/assets/index.js".to_owned(), ""),
            (format!("/s/{id}/viewers"), "x=y"),
            (format!("/s/{id}/v/{VIEWER}/updates"), "after=7&poll=3&resume=1"),
            (format!("/s/{id}/v/{VIEWER}/serial/input"), "first=18446744073709551615"),
        ];
        let pieces =
            ["/", "//", "..", "/../", "%2e%2e", "%2f", "%00", "\0", "\\", "?", "#", "=", "&", "9", "\u{e4}"];
        let (mut found, mut refused) = (0, 0);
        let all = podzol_fuzz::rounds(40_000, 0x726f_7574, |round, random| {
            let (path, query) = &seeds[round % seeds.len()];
            let mut texts = [path.clone(), (*query).to_owned()];
            for _ in 0..random.random_range(0..=2) {
                let text = &mut texts[random.random_range(0..2)];
                let places: Vec<_> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
                let at = places[random.random_range(0..places.len())];
                match random.random_range(0..3) {
                    0 => text.truncate(at),
                    1 => *text = text[at..].to_owned(),
                    _ => text.insert_str(at, pieces[random.random_range(0..pieces.len())]),
                }
            }
            let [path, query] = &texts;
            if let Ok(query) = Query::of(Some(query)) {
                assert!(
                    query.update().is_err() || query.after.is_some_and(|after| after <= u64::from(u32::MAX))
                );
            }
            match Route::of(if round % 2 == 0 { &Method::GET } else { &Method::POST }, path) {
                // Whatever is between the slashes, it is one name, which is looked up and not opened.
                Ok(Route::Asset(name)) => assert!(!name.contains('/') && path.ends_with(name)),
                Ok(Route::Viewer(_, viewer, _)) => assert!(viewer.parse::<Bytes<16>>().is_ok()),
                Ok(_) => {}
                Err(_) => return refused += 1,
            }
            found += 1;
        });
        assert_eq!(found + refused, all);
        assert!(found > all / 20 && refused > all / 20, "{found} found, {refused} refused");
    }
}
