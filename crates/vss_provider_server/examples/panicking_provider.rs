// SPDX-License-Identifier: MIT OR Apache-2.0
//! `panicking-provider.exe`, for the rig's tests: a provider made as a storage vendor makes one, whose array panics in the operation
//! that the file `panic` in the data folder names, and else works. The array lives as long as the process.

use array_api::simulated::{SimulatedArray, VirtualClock};
use array_api::{
    AbortOutcome, Armed, Array, ArrayError, ArrayInfo, CheckAnswer, CheckRequest, CommitReport,
    CopyReport, DeleteOutcome, LunId, LunIdentity, LunInfo, Orphan, PrepareOutcome, PrepareRequest,
    Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use uuid::Uuid;
use vss_provider_server::ids::{ArrayMeans, Names};
use vss_provider_server::vendor::{Arrays, Vendor, run};

static PANICKER: Vendor = Vendor {
    names: Names {
        class_id: Uuid::from_u128(0x1f0d6c35_7a52_4c8b_9d3e_b6a0f4e81c27),
        app_id: Uuid::from_u128(0xd2b94e60_03c7_4f1a_8e55_61fa9c3d70b8),
        provider_id: Uuid::from_u128(0x95a1e7f4_c86d_4b02_a4d9_2e7b50c3f816),
        version_id: Uuid::from_u128(0x6e38b0c9_51fd_4a97_b2e6_f70d84a91c53),
        provider_name: "Panicking VSS Hardware Provider",
        provider_version: "1",
        service_name: "PanickingProvider",
        event_source: "Panicker",
        array: ArrayMeans {
            service: "the panicking array",
            orphans: "the panicking array",
            delete: "the panicking array",
            hosts: "the panicking array",
            luns: "the panicking array",
        },
        command: "panicking-provider",
        executable: "panicking-provider.exe",
        message_dll: "panicking-messages.dll",
        data_folder: "Panicker",
    },
    lun_of: LunIdentity::lun_id,
    arrays: Arrays::Own {
        open,
        how: "there is nothing to do",
    },
};

/// With one LUN, the same in each process: the rig makes its description from an array of its own.
static ARRAY: LazyLock<SimulatedArray> = LazyLock::new(|| {
    let array = SimulatedArray::new(VirtualClock::new());
    array.create_lun(1 << 30, &["here"]);
    array
});

fn open(data_folder: &Path) -> Result<Arc<dyn Array>, ArrayError> {
    Ok(Arc::new(Panicking {
        told: data_folder.join("panic"),
        array: ARRAY.host("here"),
    }))
}

struct Panicking {
    told: PathBuf,
    array: Arc<dyn Array>,
}

impl Panicking {
    fn may_panic(&self, operation: &str) {
        let told = std::fs::read_to_string(&self.told).unwrap_or_default();
        assert!(told != operation, "the array panics in {operation}");
    }
}

macro_rules! as_the_array {
    ($(fn $operation:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $operation(&self, within: Duration $(, $argument: $kind)*) -> Result<$answer, ArrayError> {
            self.may_panic(stringify!($operation));
            self.array.$operation(within $(, $argument)*)
        })*
    };
}

impl Array for Panicking {
    as_the_array! {
        fn info() -> ArrayInfo;
        fn query(luns: &[LunId]) -> Vec<Option<LunInfo>>;
        fn check(request: &CheckRequest) -> CheckAnswer;
        fn prepare(set: SetId, request: &PrepareRequest) -> PrepareOutcome;
        fn ready(set: SetId) -> Readiness;
        fn arm(set: SetId) -> Armed;
        fn commit(set: SetId) -> CommitReport;
        fn report(set: SetId, sources: &[LunId]) -> Vec<CopyReport>;
        fn abort(set: SetId, reported_too: bool) -> AbortOutcome;
        fn map(copies: &[LunId]) -> ();
        fn unmap(copies: &[LunId]) -> ();
        fn delete(copy: LunId) -> DeleteOutcome;
        fn break_copies(copies: &[LunId], unmap_too: bool) -> ();
        fn resync(id: ResyncId, pairs: &[ResyncPair]) -> ResyncStatus;
        fn resync_status(id: ResyncId, wait: Duration) -> ResyncStatus;
        fn cancel_resync(id: ResyncId) -> ResyncStatus;
        fn orphans() -> Vec<Orphan>;
    }
}

fn main() -> ExitCode {
    run(&PANICKER)
}
