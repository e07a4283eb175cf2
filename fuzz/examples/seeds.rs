//! Writes what each target begins with: `seeds <directory>`, one directory per target in it.

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    http::HttpResponse,
    pins::{Client, Refresher},
    shared::{MemoryStore, Seal, Secret},
    time::{Monotonic, Now},
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, US_BY_DIGICERT, US_BY_GENESYS, by_api},
    der,
    text::pem,
};
use serde_json::{Value, json};
use std::{fs, io, path::PathBuf, rc::Rc, time::Duration};

fn main() -> io::Result<()> {
    let Some(root) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds <directory>");
        std::process::exit(2);
    };
    let all = [
        ("xfcc", headers()),
        ("percent", CAST.leaves.iter().take(3).map(|leaf| leaf.der.clone()).collect()),
        ("pem", pems()),
        ("certificate", certificates()),
        ("crl", lists()),
        ("config", configurations().iter().flat_map(both_forms).collect()),
        ("config_forms", configurations().iter().map(|document| document.to_string().into_bytes()).collect()),
        ("oauth", tokens()),
        ("api", answers()),
        ("record", records()),
        ("lists", noise()),
        ("header", shorthand()),
        ("answers", noise()),
        ("verify_answer", verify_answers()),
    ];
    for (target, seeds) in all {
        let directory = root.join(target);
        fs::create_dir_all(&directory)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:02}")), seed)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}

fn verify_answers() -> Vec<Vec<u8>> {
    [&b"\x08\x01"[..], b"\x08\x01\x12\x02ok", b"\x12\x16Failed to verify digest", b"\x08\x00", b""]
        .map(<[u8]>::to_vec)
        .to_vec()
}

fn headers() -> Vec<Vec<u8>> {
    let leaf = CAST.leaf(0);
    [
        format!("\x20\x05By=spiffe://a;Hash=00;Cert=\"{}\";Subject=\"CN=x\"", leaf.form(0)),
        "\x10\x05URI=spiffe://td/x,Hash=1;Cert=\"fake\";URI=y;Cert=\"real\"".to_owned(),
        "\x08\x03Subject=\"CN=\\\"Cert=fake;\\\"\";Cert=\"real\";cert=%20%2f%zz".to_owned(),
        r#"[{"hash":"1","cert":"a\nb\/c","uri":["x\",\"cert\":\"y"]}],[{"Cert" : "%2F\u00e9"}]"#.to_owned(),
        "cert=".repeat(20),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fn pems() -> Vec<Vec<u8>> {
    let block = pem(&CAST.leaf(0).der);
    let short = pem(&[1, 2, 3]);
    [
        block.clone(),
        block.replace('\n', "\r\n") + &short,
        short.replace("CERTIFICATE", "PRIVATE KEY"),
        short.replace("CERTIFICATE", "TRUSTED CERTIFICATE") + &short,
        format!("subject=CN = x\n{short}  {short}"),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fn certificates() -> Vec<Vec<u8>> {
    let kind = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let mut seeds = Vec::new();
    for leaf in &CAST.leaves {
        seeds.push(kind(0, &leaf.der));
        seeds.extend(der::signed(&leaf.der).map(|signed| kind(1, signed)));
    }
    seeds.push(kind(2, &[CAST.leaves[US_BY_GENESYS].der.as_slice(), &CAST.us_ca.der].concat()));
    seeds.push(kind(2, &[CAST.leaves[US_BY_DIGICERT].der.as_slice(), &CAST.digicert.der].concat()));
    // With an RSA key in the place of the CA's, the shortest that is taken.
    let rsa = with_rsa_key(&CAST.us_ca.der);
    seeds.push(kind(2, &[CAST.leaves[US_BY_GENESYS].der.as_slice(), &rsa].concat()));
    seeds
}

/// The same certificate with an RSA key. The private key does not exist and is not needed.
fn with_rsa_key(ca: &[u8]) -> Vec<u8> {
    let modulus = [&[0, 0xc5][..], &[0x5a; 254], &[0x5b]].concat();
    let key = der::element(0x30, &[der::element(2, &modulus), der::element(2, &[1, 0, 1])].concat());
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let key =
        der::element(0x30, &[der::element(0x30, &oid), der::element(3, &[&[0][..], &key].concat())].concat());
    let mut fields = der::children(der::content(der::signed(ca).unwrap()));
    // Version, serial number, algorithm, issuer, validity, subject, key.
    fields[6] = &key;
    der::sign(|message| CAST.us_ca.key().signature(message), &der::element(0x30, &fields.concat()))
}

fn lists() -> Vec<Vec<u8>> {
    let other = CAST.eu_ca.list(4, &[CAST.leaf(5)]);
    let lists: Vec<&Vec<u8>> = CAST.lists.iter().chain([&other]).collect();
    let whole = lists.iter().map(|list| [&[0], list.as_slice()].concat());
    let signed = lists.iter().filter_map(|list| Some([&[1], der::signed(list)?].concat()));
    whole.chain(signed).collect()
}

fn configurations() -> Vec<Value> {
    let pin = format!("sha256:{}", "a5".repeat(32));
    vec![
        json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": CAST.us_ca.pem}}}}),
        json!({"regions": {"us-east-1": {"digicert": {"pins": ["api", pin]}}}}),
        json!({
            "name": "edge", "mode": "shadow", "names": "san", "clock_skew": "5s",
            "regions": {
                "us-east-1": {"digicert": {"pins": ["api"], "issuers": CAST.digicert.pem}},
                "eu-central-1": {
                    "genesys": {"ca_certificates": CAST.eu_ca.pem, "danger_public_ca": true},
                    "refresh": {"clusters": {"api": "a", "login": "l"}, "oauth": {"client_id_env": "X"}},
                    "digicert": {"pins": ["api"], "issuers": CAST.digicert.pem},
                },
                "own-1": {"certificate_name": "client.example", "domain": "example", "digicert": {"pins": [pin]}},
            },
            "refresh": {
                "clusters": {"api": "outbound|443||{host}", "login": "{region}-login"}, "oauth": "injected",
                "interval": "2h", "timeout": "3s", "jitter": "20%", "retry": {"base": "1s", "max": "10m"},
                "keep_removed": "48h", "max_staleness": "7d",
                "on_unknown_certificate": {"min_interval": "1m", "hold": "1s", "max_held": 8},
            },
            "peer_certificate": {"source": "filter_state", "filter_state_key": "k"},
            "identity": {"header": "x-genesys-cloud-client"},
            "revocation": {"mode": "hard", "interval": "1h", "timeout": "20s", "max_size": 1_000_000, "lists": [
                {"region": "eu-central-1", "authority": "genesys", "url": "http://crl.example/a.crl", "cluster": "c"},
            ]},
        }),
        json!({
            "regions": {"us-east-2": {"genesys": {"ca_certificates": CAST.us_ca.pem}}},
            "peer_certificate": {"danger_trusted_hop": {"header": "x-cert", "peer": {"dns_san": "hop.example"}}},
        }),
        json!({
            "regions": {"us-east-2": {"genesys": {"ca_certificates": CAST.us_ca.pem}}},
            "peer_certificate": {"danger_trusted_hop": {"header": "x-cert", "peer": {"sha256": ["a5".repeat(32)]}}},
        }),
        json!({"regoins": {}, "mode": 7, "identity": null}),
    ]
}

fn both_forms(document: &Value) -> [Vec<u8>; 2] {
    [document.to_string().into_bytes(), genesys_mtls_fuzz::text::protobuf(document.as_object().unwrap())]
}

fn tokens() -> Vec<Vec<u8>> {
    [
        r#"{"access_token":"abcdefghijklmnopqrstuvwxyz","token_type":"bearer","expires_in":86400}"#,
        r#"{"access_token":"t","token_type":"Bearer","expires_in":1e300,"error":null}"#,
        r#"{"access_token":"a\r\nx: y","expires_in":-5.5}"#,
        r#"{"error":"invalid_client","description":"client not found"}"#,
    ]
    .map(|body| [&[0], body.as_bytes()].concat())
    .to_vec()
}

fn answer(numbers: &[u8]) -> Value {
    let entity = |number: &u8| {
        let text = pem(&CAST.leaf(*number).der) + &CAST.digicert.pem;
        json!({"signingAuthority": "DigiCert", "type": "Client", "status": "Current", "certificate": text})
    };
    json!({"entities": numbers.iter().map(entity).collect::<Vec<_>>(), "total": numbers.len()})
}

fn answers() -> Vec<Vec<u8>> {
    let mut paged = answer(&[1]);
    paged["nextUri"] = json!("/api/v2/integrations/actions/certificates?status=Current&pageNumber=2");
    let mut away = answer(&[1]);
    away["nextUri"] = json!("https://api.mypurecloud.com/api/v2/integrations/actions/certificates/../users");
    let join = |pages: &[&Value]| -> Vec<u8> {
        pages.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{1}").into_bytes()
    };
    let none = json!({"entities": []});
    let all = [
        join(&[&answer(&[1, 2]), &none]),
        join(&[&paged, &answer(&[2]), &none]),
        join(&[&away, &answer(&[4])]),
    ];
    // No UTF-8 text can hold the separator.
    all.map(|bytes| bytes.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect()).to_vec()
}

/// What a worker shares: record, lease, early request.
fn records() -> Vec<Vec<u8>> {
    let policy = Rc::new(by_api(true));
    let region = policy.regions.iter().find(|region| region.id == "us-east-1").unwrap();
    let mut seeds = Vec::new();
    for answered in [answer(&[1, 2]), answer(&[1]), json!({})] {
        let mut shared = MemoryStore::default();
        let mut now = Now { mono: Monotonic::from_millis(5000), wall: NOW, random: 0.5 };
        let mut worker = Refresher::new(policy.clone(), region, Client::Injected, 7).unwrap();
        assert!(worker.tick(&AwsLcVerifier, &mut shared, now).call.is_some());
        for _ in 0..2 {
            let body = Some(answered.to_string().into_bytes());
            let response = Ok(HttpResponse { status: 200, body, retry_after: None });
            worker.on_response(response, &AwsLcVerifier, &mut shared, now);
        }
        now.mono += Duration::from_mins(1);
        worker.request_early(CAST.leaf(4).fingerprint(), &mut shared, now);
        let open = |ending: &str| {
            let key = shared.key(ending)?;
            let sealed = shared.value(ending)?;
            Some(Seal::new(None::<&Secret>, &key)?.open(sealed)?.to_vec())
        };
        let parts = [open("/record"), open("/lease"), open("/early")];
        let parts = parts.map(Option::unwrap_or_default).join(&0xff);
        seeds.extend([0, 1].map(|kind| [&[kind], parts.as_slice()].concat()));
    }
    seeds
}

/// Headers in shorthand, for each connection and place.
fn shorthand() -> Vec<Vec<u8>> {
    let headers: [&[u8]; 6] = [
        b"Hash=1;Cert=\"\xe0\x00\",Hash=2;Cert=\"\xe0\x01\"",
        b"URI=x\";Cert=\"\xe0\x00\";\xfe;URI=x\",Cert=\"\xe3\x00\"",
        b"[{\"Cert\":\"\xe2\x00\"},\xfe,{\"cert\" : \"\xe2\x01\"}]",
        b"\xe0\x00,\xfe\xe1\x01",
        b"\xfe;Subject=\"Cert=\xe0\x00;\"",
        b"Cert=\"\xe3\x0a\xe3\x00\";cert=\xe0\x01",
    ];
    let mut seeds = Vec::new();
    for (number, header) in headers.iter().enumerate() {
        for place in [0, 1, 2, 3, 4, 12] {
            let connection = u8::try_from(number * 3 + usize::from(place)).unwrap();
            seeds.push([&[connection, place], *header].concat());
        }
    }
    seeds
}

/// For inputs that are decoded into a story, bytes of every size are a beginning.
fn noise() -> Vec<Vec<u8>> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (1..=16_usize).map(|number| (0..number * 64).map(|_| next()).collect()).collect()
}
