// SPDX-License-Identifier: MIT OR Apache-2.0
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// VER_VDS_LUN_INFORMATION, the only version there is (FIL-5, GTL-4).
pub const LUN_DESCRIPTION_VERSION: u32 = 1;
/// VER_VDS_STORAGE_DEVICE_ID_DESCRIPTOR.
pub const DEVICE_ID_VERSION: u32 = 1;
/// VDSBusTypeScsi (GTL-4: normally Scsi).
pub const BUS_TYPE_SCSI: u32 = 1;

/// An owned VDS_LUN_INFORMATION: what VSS and the provider tell one another about a LUN (specification 5.1). Strings are
/// bytes, because their source is a SCSI device; `None` is a NULL pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunDescription {
    /// m_version, 1.
    pub version: u32,
    /// m_DeviceType: SCSI peripheral device type, 0 for a disk.
    pub device_type: u8,
    /// m_DeviceTypeModifier, 0 if none.
    pub device_type_modifier: u8,
    /// m_bCommandQueueing.
    pub command_queueing: bool,
    /// m_BusType, a VDS_STORAGE_BUS_TYPE. Never compared (FIL-3).
    pub bus_type: u32,
    /// m_szVendorId: INQUIRY bytes 8-15, without the zero byte.
    pub vendor: Option<Vec<u8>>,
    /// m_szProductId: INQUIRY bytes 16-31.
    pub product: Option<Vec<u8>>,
    /// m_szProductRevision: INQUIRY bytes 32-35.
    pub revision: Option<Vec<u8>>,
    /// m_szSerialNumber: page 80h.
    pub serial: Option<Vec<u8>>,
    /// m_diskSignature. Always nil from the provider (LUN-8).
    pub disk_signature: Uuid,
    /// m_deviceIdDescriptor.m_version.
    pub device_id_version: u32,
    /// m_deviceIdDescriptor.m_rgIdentifiers: the association-0 designators of page 83h (LUN-3).
    pub identifiers: Vec<StorageIdentifier>,
    /// m_rgInterconnects. Never changed in a structure received, empty in one made (ALS-5, GTL-8).
    pub interconnects: Vec<Interconnect>,
}

/// VDS_STORAGE_IDENTIFIER: one designator of page 83h.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageIdentifier {
    /// m_CodeSet: 1 binary, 2 ASCII, 3 UTF-8.
    pub code_set: u32,
    /// m_Type: the designator type (SPC-4 7.8.6.1): 1 T10 vendor id, 2 EUI-64, 3 NAA, 8 SCSI name string, ...
    pub kind: u32,
    /// m_rgbIdentifier.
    pub bytes: Vec<u8>,
}

/// VDS_INTERCONNECT: one port. Carried, never interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interconnect {
    /// m_addressType, a VDS_INTERCONNECT_ADDRESS_TYPE.
    pub address_type: u32,
    /// m_pbPort.
    pub port: Vec<u8>,
    /// m_pbAddress.
    pub address: Vec<u8>,
}
