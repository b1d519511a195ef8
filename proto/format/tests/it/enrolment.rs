//! Enrolment: tokens as text, redemptions with two signatures, a tenant's acceptance of an issuing CA.

use proptest::prelude::*;
use strongroom_format::codec::{self, Format, FormatError};
use strongroom_format::enrolment::{
    Bearer, CertificateWish, NodeAddresses, NotAToken, Redemption, SignedRedemption, Token, TokenTenant,
    request_digest, token_digest,
};
use strongroom_format::id::{GroupId, PublicKey, StatementVersion};
use strongroom_format::role::{Plane, Role};
use strongroom_format::sign::{BadSignature, Signed, SignedError, SigningKey};
use strongroom_format::statement::{IssuerAcceptance, issuer_digest};

use crate::golden;
use crate::sample::{HOME, Tenant, cluster, digest, fixed, identity};

fn key(name: &str) -> SigningKey {
    SigningKey::from_secret(fixed(name)).unwrap()
}

fn token_tenant() -> TokenTenant {
    let acme = Tenant::new("acme");
    TokenTenant { name: "acme".parse().unwrap(), id: acme.id, home: HOME, root: acme.root.public_key() }
}

fn for_a_writer() -> Bearer {
    Bearer::Identity { tenant: token_tenant(), identity: identity("web-2"), roles: vec![Role::Writer, Role::Auditor] }
}

fn for_a_node() -> Bearer {
    Bearer::Node { name: "n7".parse().unwrap(), region: "eu-west".parse().unwrap() }
}

fn endpoints() -> Vec<String> {
    vec!["10.0.0.1:7404".into(), "[2001:db8::1]:7404".into(), "n3.example:7404".into()]
}

fn token(bearer: Bearer) -> Result<Token, FormatError> {
    Token::new("house".parse().unwrap(), cluster(), endpoints(), digest("enrolment ca"), bearer, fixed("token seed"))
}

fn addresses() -> NodeAddresses {
    let at = |port: u16| format!("10.0.0.7:{port}");
    NodeAddresses { peer: at(7401), tenant: at(7402), operator: at(7403) }
}

/// What a writer's token and a node's give.
pub fn redemptions() -> [SignedRedemption; 2] {
    let request = request_digest(b"subject public key info");
    [
        token(for_a_writer()).unwrap().redeem(&key("web-2"), request, None).unwrap(),
        token(for_a_node()).unwrap().redeem(&key("n7"), request, Some(addresses())).unwrap(),
    ]
}

pub fn acceptance() -> IssuerAcceptance {
    IssuerAcceptance {
        tenant: Tenant::new("acme").id,
        cluster: cluster(),
        issuer: issuer_digest(b"certificate"),
        version: StatementVersion(1),
    }
}

/// What an auditor asks who is there already.
pub fn wish() -> CertificateWish {
    CertificateWish {
        cluster: cluster(),
        tenant: Tenant::new("acme").id,
        identity: identity("albert"),
        role: Role::Auditor,
        request: request_digest(b"subject public key info"),
    }
}

#[test]
fn tokens_redemptions_wishes_and_acceptances_keep_their_bytes() {
    let [writer, node] = redemptions();
    golden::text("token-1.txt", &format!("{}\n", *token(for_a_writer()).unwrap().to_text()));
    golden::text("token-node-1.txt", &format!("{}\n", *token(for_a_node()).unwrap().to_text()));
    golden::bytes("redemption-1", &codec::encode(&writer));
    golden::bytes("redemption-node-1", &codec::encode(&node));
    let signed = Signed::new(&acceptance(), Tenant::new("acme").root.signing_key()).unwrap();
    golden::bytes("issuer-acceptance-1", &codec::encode(&signed));
    let signed = Signed::new(&wish(), &key("albert")).unwrap();
    golden::bytes("certificate-wish-1", &codec::encode(&signed));
    assert_eq!(signed.open(&key("albert").public_key()), Ok(wish()));
    // As FORMATS.md writes them.
    let seed = key("token seed").public_key();
    assert_eq!(token(for_a_node()).unwrap().digest().as_bytes(), blake3::hash(seed.as_bytes()).as_bytes());
    assert_eq!(token_digest(&seed), token(for_a_writer()).unwrap().digest());
    assert_eq!(acceptance().issuer.as_bytes(), blake3::hash(b"certificate").as_bytes());
}

#[test]
fn a_token_is_read_as_it_was_written_blanks_around_it_or_not() {
    for bearer in [for_a_writer(), for_a_node()] {
        let token = token(bearer.clone()).unwrap();
        let text = token.to_text();
        assert!(text.starts_with(Token::PREFIX));
        for text in [text.to_string(), format!("\n {}\n", *text)] {
            let read = Token::parse(&text).unwrap();
            assert_eq!(read, token);
            assert_eq!((read.bearer(), read.endpoints(), read.epoch()), (&bearer, endpoints().as_slice(), cluster()));
            assert_eq!((read.cluster().to_string().as_str(), read.pin()), ("house", digest("enrolment ca")));
        }
    }
    let (writer, node) = (token(for_a_writer()).unwrap(), token(for_a_node()).unwrap());
    assert_eq!((writer.plane(), writer.group()), (Plane::Tenant, HOME));
    assert_eq!((node.plane(), node.group()), (Plane::Peer, GroupId::CLUSTER));
}

#[test]
fn a_text_that_is_cut_altered_or_another_is_no_token() {
    let text = token(for_a_writer()).unwrap().to_text().to_string();
    assert_eq!(Token::parse(""), Err(NotAToken::Prefix));
    assert_eq!(Token::parse(&text.replace("token-1", "token-2")), Err(NotAToken::Prefix));
    let encoded = &text[Token::PREFIX.len()..];
    for end in 0..encoded.len() {
        assert!(Token::parse(&text[..Token::PREFIX.len() + end]).is_err(), "cut at {end}");
    }
    for bad in ["=", "AA==", " ", "a b", "+", "/", "é"] {
        assert_eq!(Token::parse(&format!("{text}{bad}x")), Err(NotAToken::Garbled), "{bad:?}");
    }
    let long = format!("{}{}", Token::PREFIX, "A".repeat(Token::TEXT_BYTES_MAX + 1));
    assert_eq!(Token::parse(&long), Err(NotAToken::Garbled));
    assert!(matches!(Token::parse(&format!("{text}AAAA")), Err(NotAToken::Format(_))), "rest bytes");
}

#[test]
fn n49_a_token_with_a_weak_seed_is_none() {
    for seed in [[0; 32], [0xff; 32]] {
        let weak = Token::new("house".parse().unwrap(), cluster(), endpoints(), digest("ca"), for_a_node(), seed);
        assert!(matches!(weak, Err(FormatError::Malformed { .. })));
    }
}

#[test]
fn n94_a_token_does_not_print_its_secret() {
    let secret = fixed::<32>("token seed");
    let token = token(for_a_writer()).unwrap();
    let printed = format!("{token:?} {:?}", redemptions());
    let text = token.to_text();
    assert!(!printed.contains(&hex::encode(secret)) && !printed.contains(&text[Token::PREFIX.len()..]));
    assert!(!printed.contains(&format!("{:?}", &secret[..4])[1..12]), "not as numbers either");
    // Nor do the bytes that a node sees.
    for redemption in redemptions() {
        let bytes = codec::encode(&redemption);
        assert!(!bytes.windows(32).any(|window| window == secret));
    }
}

#[test]
fn tokens_that_would_lead_nowhere_are_not_made() {
    let with = |bearer, endpoints: Vec<String>| {
        Token::new("house".parse().unwrap(), cluster(), endpoints, digest("ca"), bearer, fixed("token seed"))
    };
    for address in ["", ":1", "host", "host:", "host:x", "host:70000", "ho st:1", "host:+1", "hôst:1", &"x".repeat(300)]
    {
        assert!(with(for_a_node(), vec![address.into()]).is_err(), "{address:?}");
    }
    assert!(with(for_a_node(), Vec::new()).is_err());
    assert!(with(for_a_node(), vec!["host:1".into(); Token::ENDPOINTS_MAX + 1]).is_err());
    assert!(with(for_a_node(), vec!["host:1".into(); Token::ENDPOINTS_MAX]).is_ok());
    for roles in [vec![], vec![Role::Writer, Role::Writer], vec![Role::Auditor, Role::Writer]] {
        let bearer = Bearer::Identity { tenant: token_tenant(), identity: identity("web-2"), roles };
        assert!(with(bearer, endpoints()).is_err());
    }
    for tenant in [
        TokenTenant { home: GroupId::CLUSTER, ..token_tenant() },
        TokenTenant { root: PublicKey::from_bytes([0; 32]), ..token_tenant() },
    ] {
        let bearer = Bearer::Identity { tenant, identity: identity("web-2"), roles: vec![Role::Writer] };
        assert!(with(bearer, endpoints()).is_err());
    }
}

#[test]
fn the_longest_token_fits_its_text() {
    let longest = "x".repeat(NodeAddresses::ADDRESS_BYTES_MAX - 2) + ":1";
    let tenant = TokenTenant { name: "x".repeat(63).parse().unwrap(), ..token_tenant() };
    let bearer = Bearer::Identity { tenant, identity: identity(&"y".repeat(63)), roles: Role::ALL.to_vec() };
    let cluster_name = "z".repeat(63).parse().unwrap();
    let endpoints = vec![longest; Token::ENDPOINTS_MAX];
    let token = Token::new(cluster_name, cluster(), endpoints, digest("ca"), bearer, fixed("token seed")).unwrap();
    assert_eq!(Token::parse(&token.to_text()), Ok(token));
}

#[test]
fn a_redemption_holds_only_with_both_signatures_of_the_keys_that_it_names() {
    let [writer, node] = redemptions();
    let opened = writer.open().unwrap();
    assert_eq!((opened.signing_key, opened.tenant), (key("web-2").public_key(), Some(Tenant::new("acme").id)));
    assert_eq!(opened.token_digest(), token(for_a_writer()).unwrap().digest());
    assert_eq!(node.open().unwrap().node, Some(addresses()));

    // Somebody overheard it and puts its own key in place: it has no token to sign that with.
    let thief = key("thief");
    let stolen = Redemption { signing_key: thief.public_key(), ..opened.clone() };
    let bytes = codec::encode(&stolen);
    let by_key = thief.sign(Redemption::NAME, &bytes);
    let bad = Err(SignedError::Signature(BadSignature));
    for by_token in [writer.by_token, by_key] {
        assert_eq!(SignedRedemption { redemption: bytes.clone(), by_token, by_key }.open(), bad);
    }
    // Somebody has the token and names another's key.
    let foreign = SignedRedemption { by_key: writer.by_token, ..writer.clone() };
    assert_eq!(foreign.open(), bad);
    let swapped = SignedRedemption { by_key: writer.by_token, by_token: writer.by_key, ..writer.clone() };
    assert_eq!(swapped.open(), bad);
    assert!(SignedRedemption::new(&opened, &key("token seed"), &thief).is_err(), "nobody signs for another key");
    // The same request in other words has another digest.
    assert_ne!(writer.digest(), node.digest());
}

#[test]
fn every_flipped_bit_of_a_redemption_is_refused() {
    for redemption in redemptions() {
        let bytes = codec::encode(&redemption);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = codec::decode::<SignedRedemption>(&flipped).map(|redemption| redemption.open());
            assert!(!matches!(opened, Ok(Ok(_))), "bit {bit}");
        }
    }
}

#[test]
fn a_redemption_is_a_nodes_or_an_identitys_and_never_both() {
    let [writer, node] = redemptions().map(|one| one.open().unwrap());
    let bad = [
        Redemption { tenant: None, ..writer.clone() },
        Redemption { group: GroupId::CLUSTER, ..writer.clone() },
        Redemption { node: node.node.clone(), ..writer.clone() },
        Redemption { node: None, ..node.clone() },
        Redemption { tenant: writer.tenant, ..node.clone() },
        Redemption { group: HOME, ..node.clone() },
        Redemption { signing_key: writer.token, ..writer.clone() },
        Redemption { signing_key: PublicKey::from_bytes([0; 32]), ..writer.clone() },
        Redemption { token: PublicKey::from_bytes([0xff; 32]), ..writer },
        Redemption { node: Some(NodeAddresses { peer: "\n:1".into(), ..addresses() }), ..node.clone() },
        Redemption { node: Some(NodeAddresses { operator: "x".repeat(300) + ":1", ..addresses() }), ..node },
    ];
    for (number, redemption) in bad.into_iter().enumerate() {
        let read = codec::decode::<Redemption>(&codec::encode(&redemption));
        assert!(matches!(read, Err(FormatError::Malformed { .. })), "{number}: {read:?}");
    }
}

#[test]
fn a_tenants_acceptance_is_signed_by_its_root_and_counts_from_one() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let signed = Signed::new(&acceptance(), acme.root.signing_key()).unwrap();
    assert_eq!(signed.open(&acme.root.public_key()), Ok(acceptance()));
    assert_eq!(signed.open(&globex.root.public_key()), Err(BadSignature.into()));
    let never = IssuerAcceptance { version: StatementVersion(0), ..acceptance() };
    assert!(Signed::new(&never, acme.root.signing_key()).is_err());
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    proptest::sample::subsequence(Role::ALL.to_vec(), 1..=8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_token_is_read_as_it_was_written(
        name in "[a-z][a-z0-9-]{0,62}",
        roles in roles(),
        hosts in proptest::collection::vec("[a-z0-9.-]{1,60}:[1-9][0-9]{0,3}", 1..8),
        mut seed in any::<[u8; 32]>(),
        pin in any::<[u8; 32]>(),
        home in 1..=u32::MAX,
        is_node in any::<bool>(),
    ) {
        prop_assume!(!strongroom_format::name::RESERVED.contains(&name.as_str()));
        seed[0] = seed[1].wrapping_add(1);
        let tenant = TokenTenant { home: GroupId(home), ..token_tenant() };
        let bearer = match is_node {
            true => Bearer::Node { name: name.parse().unwrap(), region: "eu".parse().unwrap() },
            false => Bearer::Identity { tenant, identity: identity(&name), roles },
        };
        let pin = strongroom_format::id::Digest::from_bytes(pin);
        let token = Token::new("house".parse().unwrap(), cluster(), hosts, pin, bearer, seed).unwrap();
        prop_assert_eq!(Token::parse(&token.to_text()), Ok(token));
    }

    #[test]
    fn arbitrary_text_is_no_token_or_the_only_text_of_one(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = format!("{}{}", Token::PREFIX, String::from_utf8_lossy(&bytes));
        if let Ok(token) = Token::parse(&text) {
            let written = token.to_text();
            prop_assert_eq!(written.as_str(), text.trim());
        }
    }

    /// A whole token with one character changed reads as the text that would be written for it, or not at all.
    #[test]
    fn a_token_has_one_text(at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let good = token(for_a_writer()).unwrap().to_text();
        let at = Token::PREFIX.len() + at.index(good.len() - Token::PREFIX.len());
        let mut text = good.to_string();
        text.replace_range(at..=at, &to);
        if let Ok(token) = Token::parse(&text) {
            let written = token.to_text();
            prop_assert_eq!(written.as_str(), text.as_str());
        }
    }
}
