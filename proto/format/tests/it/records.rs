//! Records: packing into payloads and back.

use proptest::prelude::*;
use strongroom_format::codec::{self, Format};
use strongroom_format::records::{RecordItem, RecordTooLong, Records, RecordsOf};
use strongroom_format::seal::RECORD_BYTES_MAX;
use strongroom_format::sign::Signed;

use crate::golden;
use crate::sample::{HOME, Tenant, fixed, snapshot};

fn of(tenant: &Tenant) -> RecordsOf {
    RecordsOf { tenant: tenant.id, vault: tenant.vault, snapshot: snapshot(), group: HOME }
}

fn items(tenant: &Tenant) -> Vec<RecordItem> {
    vec![
        RecordItem::Node(fixed::<50>("leaf").to_vec()),
        RecordItem::Node(fixed::<70>("root").to_vec()),
        RecordItem::Founding(codec::encode(&tenant.founding().sign(&tenant.root).unwrap())),
        RecordItem::Statement(codec::encode(&Signed::new(&tenant.statement(), tenant.root.signing_key()).unwrap())),
        RecordItem::Card(codec::encode(&Signed::new(&tenant.card(), tenant.root.signing_key()).unwrap())),
        RecordItem::Wrap(codec::encode(&tenant.wrap())),
        RecordItem::Envelope(codec::encode(&tenant.signed_envelope())),
    ]
}

/// The home part's records of a small snapshot.
pub fn sample(tenant: &Tenant) -> Records {
    let payloads = Records::pack(of(tenant), items(tenant)).unwrap();
    assert_eq!(payloads.len(), 1);
    Records::unpack(&payloads[0]).unwrap()
}

#[test]
fn records_keep_their_bytes() {
    let acme = Tenant::new("acme");
    let records = sample(&acme);
    assert_eq!(records.items, items(&acme));
    golden::bytes("records-1", &codec::encode(&records));
}

#[test]
fn many_records_fill_several_payloads_in_order_and_none_is_too_long() {
    let acme = Tenant::new("acme");
    let many: Vec<_> = (0..300_u32).map(|n| RecordItem::Node(vec![n as u8; 9_000 + n as usize])).collect();
    let payloads = Records::pack(of(&acme), many.clone()).unwrap();
    assert_eq!(payloads.len(), 3);
    let mut found = Vec::new();
    for (number, payload) in payloads.iter().enumerate() {
        assert!(payload.len() <= RECORD_BYTES_MAX);
        let records = Records::unpack(payload).unwrap();
        assert_eq!((records.number as usize, records.count), (number, 3));
        assert_eq!((records.tenant, records.vault, records.group), (acme.id, acme.vault, HOME));
        found.extend(records.items);
    }
    assert_eq!(found, many);
}

#[test]
fn payloads_are_filled_to_the_last_byte() {
    let acme = Tenant::new("acme");
    let empty = Records::pack(of(&acme), Vec::new()).unwrap();
    assert_eq!(empty.len(), 1, "a part without records has one payload all the same");
    let room = Records::BYTES_MAX - empty[0].len() - 5;
    let full = Records::pack(of(&acme), vec![RecordItem::Node(vec![1; room])]).unwrap();
    assert_eq!(full[0].len(), Records::BYTES_MAX);
    assert!(Records::unpack(&full[0]).is_ok());
    let over = Records::pack(of(&acme), vec![RecordItem::Node(vec![1; room + 1])]);
    assert_eq!(over, Err(RecordTooLong { bytes: room + 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn any_records_come_back_in_order(lengths in proptest::collection::vec(0_usize..400_000, 0..20)) {
        let acme = Tenant::new("acme");
        let items: Vec<_> = (0..).zip(lengths).map(|(n, length)| RecordItem::Card(vec![n; length])).collect();
        let payloads = Records::pack(of(&acme), items.clone()).unwrap();
        prop_assert!(payloads.iter().all(|payload| payload.len() <= RECORD_BYTES_MAX));
        let found: Vec<_> = payloads.iter().flat_map(|payload| Records::unpack(payload).unwrap().items).collect();
        prop_assert_eq!(found, items);
    }
}

#[test]
fn a_number_outside_of_the_count_is_refused() {
    let acme = Tenant::new("acme");
    let wrong = Records { number: 1, ..sample(&acme) };
    assert!(Records::unpack(&codec::encode(&wrong)).is_err());
}
