//! Reads an image back with a program that is not ours. Needs `isoinfo` (Debian package genisoimage); CI has it, and
//! sets `PODZOL_MUST_RUN=1` so that its absence is a failure there.

use std::process::Command;

#[test]
fn isoinfo_reads_every_file_back_by_both_of_its_long_names() {
    if Command::new("isoinfo").arg("-version").output().is_err() {
        assert!(
            std::env::var_os("PODZOL_MUST_RUN").is_none(),
            "isoinfo is missing (apt install genisoimage)"
        );
        eprintln!("not run: isoinfo is missing (apt install genisoimage)");
        return;
    }
    let user_data = "#cloud-config\n".repeat(500);
    let files: [(&str, &[u8]); 3] =
        [("meta-data", b"instance-id: i-1\n"), ("network-config", b""), ("user-data", user_data.as_bytes())];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cidata.iso");
    std::fs::write(&path, podzol_cidata::image(&files).unwrap()).unwrap();

    let isoinfo = |arguments: &[&str]| {
        let output = Command::new("isoinfo").arg("-i").arg(&path).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(isoinfo(&["-d"]).contains("Volume id: cidata"));
    for (name, content) in files {
        for tree in ["-R", "-J"] {
            let found = isoinfo(&[tree, "-x", &format!("/{name}")]);
            assert_eq!(found.as_bytes(), content, "{name} by {tree}");
        }
    }
}
