// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-provider.exe`.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
