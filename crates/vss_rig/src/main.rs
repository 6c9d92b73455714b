// SPDX-License-Identifier: MIT OR Apache-2.0
//! probe
use std::time::Duration;
use vss_rig::initiator::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let p = Portal { address: a[1].parse().unwrap(), target: a[2].clone(), initiator: "iqn.1991-05.com.microsoft:winhost".into() };
    let mut i = Initiator::connect(&p, Duration::from_secs(5)).unwrap();
    let luns = i.report_luns().unwrap();
    println!("{luns:?}");
    for l in luns {
        println!("{l} {:02x?}", i.inquiry(l, None));
        println!("{l} {:02x?}", i.inquiry(l, Some(0x80)));
        println!("{l} {:02x?}", i.inquiry(l, Some(0x83)));
        println!("{l} {:?}", i.capacity(l));
        if l > 0 {
            i.write(l, 1024*1024, &vec![7u8; 1<<20]).unwrap();
            assert_eq!(i.read(l, 1024*1024, 1<<20).unwrap(), vec![7u8; 1<<20]);
            i.synchronize_cache(l).unwrap();
        }
        println!("{l} {:?}", i.test_unit_ready(l));
    }
    println!("{:?} {:?}", i.test_unit_ready(77), i.take_attentions());
}
