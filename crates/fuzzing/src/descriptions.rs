// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUN descriptions from bytes: true ones, true ones with something wrong, and nonsense.

use arbitrary::{Result, Unstructured};
use array_api::LunId;
use array_api::simulated::SimulatedArray;
use std::time::Duration;
use vss_provider::{Interconnect, LunDescription, StorageIdentifier, identity};

/// Lengths at which something may end: nothing, one, INQUIRY's fields, SCSI's length byte and past it.
const LENGTHS: [usize; 8] = [0, 1, 8, 16, 255, 256, 4096, 65_536];
/// LUNs of one call at most, unless the input asks for [`LUNS_MANY`].
const LUNS_FEW: usize = 4;
/// More than any volume has.
const LUNS_MANY: usize = 4096;

/// The LUNs of one call.
pub(crate) fn list(
    input: &mut Unstructured<'_>,
    array: &SimulatedArray,
) -> Result<Vec<LunDescription>> {
    let many = input.ratio(1_u8, 64)?;
    let count = input.int_in_range(0..=LUNS_FEW)?;
    let mut luns = Vec::new();
    for _ in 0..count {
        luns.push(one(input, array)?);
    }
    if let (true, Some(first)) = (many, luns.first()) {
        luns = vec![first.clone(); LUNS_MANY];
    }
    Ok(luns)
}

/// One LUN.
pub(crate) fn one(input: &mut Unstructured<'_>, array: &SimulatedArray) -> Result<LunDescription> {
    let mut lun = match input.ratio(3_u8, 4)? {
        true => of_the_array(input, array)?,
        false => LunDescription::default(),
    };
    for _ in 0..input.int_in_range(0..=3)? {
        spoil(input, &mut lun)?;
    }
    Ok(lun)
}

fn of_the_array(input: &mut Unstructured<'_>, array: &SimulatedArray) -> Result<LunDescription> {
    let luns = array.luns();
    let id = *input.choose(&luns)?;
    Ok(describe(array, id))
}

/// As the array shows it.
pub(crate) fn describe(array: &SimulatedArray, id: LunId) -> LunDescription {
    let infos = array.host("observer").query(Duration::from_secs(1), &[id]);
    let info = infos.expect("nothing is wrong with the array").remove(0);
    identity::describe(&info.expect("it was listed").identity)
}

fn spoil(input: &mut Unstructured<'_>, lun: &mut LunDescription) -> Result<()> {
    match input.int_in_range(0..=9)? {
        0 => lun.version = input.arbitrary()?,
        1 => lun.device_type = input.arbitrary()?,
        2 => lun.vendor = text(input)?,
        3 => lun.product = text(input)?,
        4 => lun.revision = text(input)?,
        5 => lun.serial = text(input)?,
        6 => lun.device_id_version = input.arbitrary()?,
        7 => lun.identifiers.push(identifier(input)?),
        8 => {
            let at = input.int_in_range(0..=lun.identifiers.len())?;
            lun.identifiers.truncate(at);
        }
        _ => lun.interconnects.push(Interconnect {
            address_type: input.arbitrary()?,
            port: bytes(input)?,
            address: bytes(input)?,
        }),
    }
    Ok(())
}

fn identifier(input: &mut Unstructured<'_>) -> Result<StorageIdentifier> {
    Ok(StorageIdentifier {
        code_set: input.int_in_range(0..=4)?,
        kind: input.int_in_range(0..=11)?,
        bytes: bytes(input)?,
    })
}

fn text(input: &mut Unstructured<'_>) -> Result<Option<Vec<u8>>> {
    match input.ratio(1_u8, 4)? {
        true => Ok(None),
        false => bytes(input).map(Some),
    }
}

fn bytes(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(1_u8, 8)? {
        let length = *input.choose(&LENGTHS)?;
        return Ok(vec![input.arbitrary()?; length]);
    }
    let length = input.int_in_range(0..=40)?;
    input.bytes(length.min(input.len())).map(<[u8]>::to_vec)
}
