// SPDX-License-Identifier: MIT OR Apache-2.0
//! The judge judged through COM: a provider with one classic defect at a time (`examples/wrong_provider`) fails the case that
//! shows the rule, and without a defect holds it. Needs the Windows programs (`cargo xtask build`) and the workspace's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use uuid::Uuid;
use vss_rig::array::{Adapter, AdapterArray};
use vss_rig::interrupt::Interrupt;
use vss_rig::scenarios::{run_one, table};
use vss_rig::wine::WindowsParts;

const RIG: &str = env!("CARGO_BIN_EXE_shadowlun-rig");
const CLASS: Uuid = Uuid::from_u128(0xf15b9867_a3dd_4d55_83c4_f1cc36217f98);

/// Name, requirement, case that catches it, and what that case has to find. The last one leaves the array without an original.
const DEFECTS: &[(&str, &str, &str, &str)] = &[
    ("another-code", "ERR-1", "T-146", "0x80004005"),
    ("new-identity", "GTL-7", "T-121", "serial"),
    ("aborts-any-set", "ABT-4", "T-181", "AbortSnapshots gave"),
    (
        "locates-once",
        "LOC-7",
        "T-143",
        "LocateLuns of mapped copies gave",
    ),
    ("aborts-nothing", "ABT-1", "T-176", "LUNs, not"),
    ("drops-set", "BPS-6", "T-077", "LUNs, not"),
    ("silent-veto", "ERR-3", "T-066", "wanted one error event"),
    ("logs-while-frozen", "PRE-3", "T-096", "logged before thaw"),
    ("supports-all", "ALS-1", "T-031", "TRUE"),
    ("changes-luns", "ALS-6", "T-030", "changed"),
    ("one-lock", "EPS-5", "T-091", "both waited"),
    (
        "leaves-targets",
        "GTL-10",
        "T-133",
        "a failure with targets",
    ),
    ("empties-originals", "OLE-6", "T-193", "LUNs, not"),
];

/// The example's adapter, with a defect file of this test's.
struct Wrong {
    folder: TempDir,
}

impl Wrong {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = Path::new(RIG).parent().unwrap();
        let windows = programs.parent().unwrap().join("windows");
        let wrong = Self { folder };
        let defect_file = format!("'Z:{}'", wrong.file("defect").display());
        let adapter = include_str!("../../../examples/wrong_provider/rig.toml")
            .replace("'install'", &format!("'install', {defect_file}"))
            .replace("../../target/debug", programs.to_str().unwrap())
            .replace("../../target/windows", windows.to_str().unwrap());
        std::fs::write(wrong.adapter(), adapter).unwrap();
        wrong
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn adapter(&self) -> PathBuf {
        self.file("wrong.toml")
    }

    /// For providers that are loaded from now on.
    fn switch_on(&self, defect: &str) {
        std::fs::write(self.file("defect"), defect).unwrap();
    }
}

/// Runs a case; what was wrong, if anything.
fn verdict(array: &AdapterArray, case: &str) -> Option<String> {
    let scenario = table().into_iter().find(|s| s.id == case).unwrap();
    let outcome = run_one(array, &scenario).unwrap();
    assert_eq!(array.take_cannot(), None, "{case}");
    outcome.failure
}

#[test]
fn each_defect_alone_is_caught_by_its_case_through_com() {
    let wrong = Wrong::new();
    wrong.switch_on("none");
    let adapter = Adapter::read(&wrong.adapter()).unwrap();
    let parts = WindowsParts::find_without_provider(None).unwrap();
    let array = AdapterArray::start(&adapter, CLASS, &parts, &Interrupt::default()).unwrap();

    for (defect, _, case, finding) in DEFECTS {
        wrong.switch_on("none");
        assert_eq!(verdict(&array, case), None, "{case} without a defect");
        wrong.switch_on(defect);
        let failure = verdict(&array, case).unwrap_or_default();
        assert!(failure.contains(finding), "{case}, {defect}: {failure:?}");
    }

    array.end().unwrap();
}

#[test]
fn run_tells_the_wrong_provider_by_its_case_and_its_exit_code() {
    let wrong = Wrong::new();
    wrong.switch_on("silent-veto");
    let junit = wrong.file("junit.xml");

    let output = Command::new(RIG)
        .args(["run", "--clsid", &CLASS.to_string(), "--adapter"])
        .arg(wrong.adapter())
        .args(["--case", "T-066", "--case", "T-067", "--junit"])
        .arg(&junit)
        .output()
        .unwrap();

    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let junit = std::fs::read_to_string(junit).unwrap();
    let failures: Vec<_> = junit.match_indices("<failure").collect();
    assert_eq!(failures.len(), 1, "{junit}");
    let before = &junit[..failures[0].0];
    assert!(before.rfind("T-066") > before.rfind("T-067"), "{junit}");
}

#[test]
fn page_lists_each_defect_with_its_case() {
    let page = include_str!("../../../docs/rig.md");
    for (defect, requirement, case, _) in DEFECTS {
        let found = page.lines().any(|line| {
            line.starts_with(&format!("| `{defect}` |"))
                && line.ends_with(&format!("| {requirement} | {case} |"))
        });
        assert!(found, "{defect}");
    }
}
