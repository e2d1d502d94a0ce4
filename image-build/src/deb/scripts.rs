//! Maintainer scripts: as little as systemd needs to hear of.

/// Maintainer scripts for these units. They call what is there, so that a container without systemd is no error. The
/// service is enabled at the first installation, and restarted when it runs; the operator starts it the first time.
pub(super) fn scripts(units: &[String]) -> Vec<(&'static str, String)> {
    if units.is_empty() {
        return Vec::new();
    }
    let units = units.join(" ");
    let reload = "[ -d /run/systemd/system ] && systemctl --system daemon-reload || true";
    let post_install = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\n\
         if [ -z \"$2\" ] && command -v deb-systemd-helper >/dev/null; then deb-systemd-helper enable {units} || true; fi\n\
         {reload}\n[ -d /run/systemd/system ] && systemctl try-restart {units} || true\n"
    );
    let pre_remove = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = remove ] && [ -d /run/systemd/system ] && systemctl stop {units} || true\n"
    );
    let post_remove = format!(
        "#!/bin/sh\nset -e\nif [ \"$1\" = purge ] && command -v deb-systemd-helper >/dev/null; then \
         deb-systemd-helper purge {units} || true; fi\n{reload}\n"
    );
    vec![("postinst", post_install), ("prerm", pre_remove), ("postrm", post_remove)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_units_needs_no_scripts() {
        assert!(scripts(&[]).is_empty());
        assert_eq!(scripts(&["a.service".to_owned()]).len(), 3);
    }
}
