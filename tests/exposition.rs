//! Prometheus' own tool reads what we write. The golden files are what `render` writes: its unit tests hold
//! them to that.

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn promtool_finds_no_fault_in_the_classic_text() {
    let golden = include_bytes!("golden/metrics.txt");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed for this test: `make install` brings it");
    promtool.stdin.take().unwrap().write_all(golden).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&said));
}
