// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few functions of libiscsi (1.19) that the rig uses, and the only place that calls them.

// UNSAFETY: libiscsi is a C library without a maintained safe wrapper; the rig needs an initiator that is not our own.
#![expect(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uchar};
use std::ptr::NonNull;

/// Opaque `struct iscsi_context`.
#[repr(C)]
struct RawContext {
    _opaque: [u8; 0],
}

/// `struct scsi_sense`; the three one-bit fields share the byte `bits`.
#[repr(C)]
struct RawSense {
    error_type: c_uchar,
    key: c_int,
    ascq: c_int,
    bits: c_uchar,
    bit_pointer: c_uchar,
    field_pointer: u16,
}

/// The head of `struct scsi_task`; what follows `datain_data` is not touched.
#[repr(C)]
struct RawTask {
    status: c_int,
    cdb_size: c_int,
    xfer_dir: c_int,
    expxferlen: c_int,
    cdb: [c_uchar; 16],
    residual_status: c_int,
    residual: usize,
    sense: RawSense,
    datain_size: c_int,
    datain_data: *mut c_uchar,
}

const _: () = assert!(size_of::<RawSense>() == 16);

const SESSION_NORMAL: c_int = 2;

// SAFETY: the declarations repeat libiscsi 1.19's <iscsi/iscsi.h> and <iscsi/scsi-lowlevel.h>.
// SAFETY: the signatures are those of iscsi/iscsi.h and iscsi/scsi-lowlevel.h of libiscsi 1.19; enums are C ints.
unsafe extern "C" {
    fn iscsi_create_context(initiator_name: *const c_char) -> *mut RawContext;
    fn iscsi_destroy_context(iscsi: *mut RawContext) -> c_int;
    fn iscsi_set_targetname(iscsi: *mut RawContext, name: *const c_char) -> c_int;
    fn iscsi_set_session_type(iscsi: *mut RawContext, kind: c_int) -> c_int;
    fn iscsi_set_timeout(iscsi: *mut RawContext, seconds: c_int) -> c_int;
    fn iscsi_set_noautoreconnect(iscsi: *mut RawContext, state: c_int);
    fn iscsi_get_error(iscsi: *mut RawContext) -> *const c_char;
    fn iscsi_connect_sync(iscsi: *mut RawContext, portal: *const c_char) -> c_int;
    fn iscsi_login_sync(iscsi: *mut RawContext) -> c_int;
    fn iscsi_logout_sync(iscsi: *mut RawContext) -> c_int;
    fn iscsi_reportluns_sync(iscsi: *mut RawContext, kind: c_int, alloc: c_int) -> *mut RawTask;
    fn iscsi_testunitready_sync(iscsi: *mut RawContext, lun: c_int) -> *mut RawTask;
    fn iscsi_inquiry_sync(
        iscsi: *mut RawContext,
        lun: c_int,
        evpd: c_int,
        page: c_int,
        maxsize: c_int,
    ) -> *mut RawTask;
    fn iscsi_readcapacity16_sync(iscsi: *mut RawContext, lun: c_int) -> *mut RawTask;
    fn iscsi_read16_sync(
        iscsi: *mut RawContext,
        lun: c_int,
        lba: u64,
        datalen: u32,
        blocksize: c_int,
        rdprotect: c_int,
        dpo: c_int,
        fua: c_int,
        fua_nv: c_int,
        group: c_int,
    ) -> *mut RawTask;
    fn iscsi_write16_sync(
        iscsi: *mut RawContext,
        lun: c_int,
        lba: u64,
        data: *mut c_uchar,
        datalen: u32,
        blocksize: c_int,
        wrprotect: c_int,
        dpo: c_int,
        fua: c_int,
        fua_nv: c_int,
        group: c_int,
    ) -> *mut RawTask;
    fn iscsi_synchronizecache16_sync(
        iscsi: *mut RawContext,
        lun: c_int,
        lba: u64,
        blocks: u32,
        syncnv: c_int,
        immed: c_int,
    ) -> *mut RawTask;
    fn scsi_free_scsi_task(task: *mut RawTask);
}

/// How a command ended. `status` is SAM-5's, or one of libiscsi's own above 0xFF (cancelled, error, timed out).
pub(super) struct Completion {
    pub(super) status: i32,
    pub(super) sense_key: i32,
    pub(super) asc_ascq: i32,
    pub(super) data: Vec<u8>,
}

/// One session. Calls block; `&mut self` keeps a second thread out, which libiscsi needs.
pub(super) struct Context {
    raw: NonNull<RawContext>,
    logged_in: bool,
}

// SAFETY: libiscsi keeps no thread-local state for a context; it only must not be used by two threads at once, which
// `&mut self` on every method rules out.
unsafe impl Send for Context {}

impl Context {
    /// A context that is not connected; `None` when memory is short.
    pub(super) fn new(initiator: &CStr, target: &CStr, timeout_seconds: i32) -> Option<Self> {
        // SAFETY: the string is NUL-terminated and copied by the library.
        let raw = NonNull::new(unsafe { iscsi_create_context(initiator.as_ptr()) })?;
        // SAFETY: `raw` is a live context; the string is NUL-terminated and copied.
        unsafe {
            iscsi_set_targetname(raw.as_ptr(), target.as_ptr());
            iscsi_set_session_type(raw.as_ptr(), SESSION_NORMAL);
            iscsi_set_timeout(raw.as_ptr(), timeout_seconds);
            iscsi_set_noautoreconnect(raw.as_ptr(), 1);
        }
        Some(Self {
            raw,
            logged_in: false,
        })
    }

    /// Connects and logs in; `Err` holds the library's words.
    pub(super) fn connect(&mut self, portal: &CString) -> Result<(), String> {
        // SAFETY: live context, NUL-terminated string that outlives the call.
        let connected = unsafe { iscsi_connect_sync(self.raw.as_ptr(), portal.as_ptr()) };
        if connected != 0 {
            return Err(self.error());
        }
        // SAFETY: live, connected context.
        if unsafe { iscsi_login_sync(self.raw.as_ptr()) } != 0 {
            return Err(self.error());
        }
        self.logged_in = true;
        Ok(())
    }

    pub(super) fn report_luns(&mut self, alloc: i32) -> Result<Completion, String> {
        // SAFETY: live context; the task is owned by `complete`.
        let task = unsafe { iscsi_reportluns_sync(self.raw.as_ptr(), 0, alloc) };
        self.complete(task)
    }

    pub(super) fn test_unit_ready(&mut self, lun: u8) -> Result<Completion, String> {
        // SAFETY: as above.
        let task = unsafe { iscsi_testunitready_sync(self.raw.as_ptr(), lun.into()) };
        self.complete(task)
    }

    pub(super) fn inquiry(&mut self, lun: u8, page: Option<u8>) -> Result<Completion, String> {
        let (evpd, page) = page.map_or((0, 0), |page| (1, page.into()));
        // SAFETY: as above. 255 bytes hold every page that the rig reads whole; longer ones are truncated by the target.
        let task = unsafe { iscsi_inquiry_sync(self.raw.as_ptr(), lun.into(), evpd, page, 0xFFFF) };
        self.complete(task)
    }

    pub(super) fn read_capacity(&mut self, lun: u8) -> Result<Completion, String> {
        // SAFETY: as above.
        let task = unsafe { iscsi_readcapacity16_sync(self.raw.as_ptr(), lun.into()) };
        self.complete(task)
    }

    pub(super) fn read(
        &mut self,
        lun: u8,
        lba: u64,
        length_bytes: u32,
        block_bytes: u32,
    ) -> Result<Completion, String> {
        let block = block_bytes.cast_signed();
        // SAFETY: as above; the library allocates the buffer for the data.
        let task = unsafe {
            iscsi_read16_sync(
                self.raw.as_ptr(),
                lun.into(),
                lba,
                length_bytes,
                block,
                0,
                0,
                0,
                0,
                0,
            )
        };
        self.complete(task)
    }

    pub(super) fn write(
        &mut self,
        lun: u8,
        lba: u64,
        data: &[u8],
        block_bytes: u32,
    ) -> Result<Completion, String> {
        let length = u32::try_from(data.len()).map_err(|_| "write over 4 GiB".to_owned())?;
        let block = block_bytes.cast_signed();
        // SAFETY: the library only reads from the pointer, until the call returns; `data` outlives it.
        let task = unsafe {
            iscsi_write16_sync(
                self.raw.as_ptr(),
                lun.into(),
                lba,
                data.as_ptr().cast_mut(),
                length,
                block,
                0,
                0,
                0,
                0,
                0,
            )
        };
        self.complete(task)
    }

    pub(super) fn synchronize_cache(&mut self, lun: u8) -> Result<Completion, String> {
        // SAFETY: as above.
        let task =
            unsafe { iscsi_synchronizecache16_sync(self.raw.as_ptr(), lun.into(), 0, 0, 0, 0) };
        self.complete(task)
    }

    fn complete(&mut self, task: *mut RawTask) -> Result<Completion, String> {
        let Some(task) = NonNull::new(task) else {
            return Err(self.error());
        };
        // SAFETY: the library returned a finished task that nobody else holds; it stays valid until freed below.
        let head = unsafe { task.as_ref() };
        let length = usize::try_from(head.datain_size).unwrap_or(0);
        let data = match NonNull::new(head.datain_data) {
            // SAFETY: `datain` is a buffer of the task with `datain_size` initialised bytes.
            Some(data) if length > 0 => unsafe {
                std::slice::from_raw_parts(data.as_ptr(), length).to_vec()
            },
            _ => Vec::new(),
        };
        let completion = Completion {
            status: head.status,
            sense_key: head.sense.key,
            asc_ascq: head.sense.ascq,
            data,
        };
        // SAFETY: freed once; no reference into the task is used afterwards.
        unsafe { scsi_free_scsi_task(task.as_ptr()) };
        Ok(completion)
    }

    pub(super) fn error(&mut self) -> String {
        // SAFETY: live context; the library returns NULL or a NUL-terminated string that lives until the next call.
        let text = unsafe {
            let text = iscsi_get_error(self.raw.as_ptr());
            match text.is_null() {
                true => return "no reason given".to_owned(),
                false => CStr::from_ptr(text),
            }
        };
        text.to_string_lossy().trim().to_owned()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: live context, destroyed once; logout only on a session that was logged in, and its failure (the
        // target may be gone) changes nothing for the destruction.
        unsafe {
            if self.logged_in {
                iscsi_logout_sync(self.raw.as_ptr());
            }
            iscsi_destroy_context(self.raw.as_ptr());
        }
    }
}
