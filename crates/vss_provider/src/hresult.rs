// SPDX-License-Identifier: MIT OR Apache-2.0
use std::fmt;

/// A COM result code. Only the values that a VSS provider meets have names (specification 8.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hresult(pub u32);

macro_rules! hresults {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Hresult {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The constant's name, `None` for a value that a provider never meets.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

hresults! {
    /// Success.
    S_OK = 0x0000_0000;
    /// "Do not unload": OnUnload(FALSE) only (LOAD-5).
    S_FALSE = 0x0000_0001;
    /// An asynchronous operation is still running (3.10).
    VSS_S_ASYNC_PENDING = 0x0004_2309;
    /// An asynchronous operation has completed (3.10).
    VSS_S_ASYNC_FINISHED = 0x0004_230A;
    /// An asynchronous operation was cancelled (3.10).
    VSS_S_ASYNC_CANCELLED = 0x0004_230B;
    /// Not supported by this provider (CAP-2, REU-2, RSY-16).
    E_NOTIMPL = 0x8000_4001;
    /// The caller lacks privileges (SEC-1).
    E_ACCESSDENIED = 0x8007_0005;
    /// Memory is short.
    E_OUTOFMEMORY = 0x8007_000E;
    /// NULL or malformed input (GEN-5).
    E_INVALIDARG = 0x8007_0057;
    /// Any error without a better code; an event with a remedy is due (ERR-3).
    VSS_E_PROVIDER_VETO = 0x8004_2306;
    /// The set is unknown (SEQ-10).
    VSS_E_OBJECT_NOT_FOUND = 0x8004_2308;
    /// BeginPrepareSnapshot: a LUN is not ours or cannot be copied (BPS-4).
    VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER = 0x8004_230E;
    /// BeginPrepareSnapshot: a limit is reached (LIM-5, LIM-6).
    VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED = 0x8004_2312;
    /// BeginPrepareSnapshot: the context cannot be honoured (BPS-4, BPS-7).
    VSS_E_UNSUPPORTED_CONTEXT = 0x8004_231B;
    /// EndPrepareSnapshots and ResyncLuns: space is short (EPS-4, RSY-17).
    VSS_E_INSUFFICIENT_STORAGE = 0x8004_231F;
    /// BeginPrepareSnapshot: a VHD nested in a VHD (LIM-7). Listed for the matrix; arrays have no VHDs.
    VSS_E_NESTED_VOLUME_LIMIT = 0x8004_232C;
}

impl Hresult {
    /// Whether the code means success (the severity bit is clear).
    pub fn is_success(self) -> bool {
        self.0 & 0x8000_0000 == 0
    }
}

impl fmt::Display for Hresult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#010X}", self.0),
        }
    }
}

impl fmt::Debug for Hresult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010X})", self.0),
            None => write!(f, "{:#010X}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hresult;

    #[test]
    fn is_success_looks_at_the_severity_bit_only() {
        for code in [0, 1, 0x4_2309, 0x7fff_ffff] {
            assert!(Hresult(code).is_success(), "{code:#x}");
        }
        for code in [0x8000_0000, 0x8004_2306, 0xffff_ffff] {
            assert!(!Hresult(code).is_success(), "{code:#x}");
        }
    }
}
