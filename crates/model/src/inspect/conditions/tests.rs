//! Ways of looking at what messages say, and ordinary templates that do not.

use super::*;

fn found(source: &str) -> Vec<(usize, String, ConditionKind)> {
    on_content(source)
        .into_iter()
        .map(|condition| (condition.line, condition.text, condition.kind))
        .collect()
}

/// Conditions on words, or not understood.
fn alarms(source: &str) -> Vec<String> {
    let found = found(source).into_iter();
    found
        .filter(|(_, _, kind)| *kind != ConditionKind::Presence)
        .map(|(_, text, _)| text)
        .collect()
}

fn assert_words(source: &str) {
    let kinds: Vec<_> = found(source).into_iter().map(|(_, _, kind)| kind).collect();
    assert!(kinds.contains(&ConditionKind::Words), "{source}: {kinds:?}");
}

#[test]
fn a_template_that_only_looks_at_roles_has_none() {
    let source = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] + '{% if content %}' }}\n\
                  {% elif loop.first %}{{ 'a' if loop.last else 'b' }}{% endif %}{% endfor %}\
                  {# {% if content %} #}";
    assert_eq!(found(source), []);
}

#[test]
fn conditions_on_words_are_told_from_those_on_presence() {
    let source = "{% if message.content is string %}x{% endif %}\n\
                  {%- if '</think>' in message['content'] -%}y{% endif %}\n\
                  {{ 'a' if message.content.startswith('secret') else 'b' }}\n\
                  {% if message.role == 'user' and (not (message.content is none)) %}z{% endif %}\n\
                  {% if not (message.content or a) and b %}{% endif %}\n\
                  {{ ('x' in message.content) and 'y' }}";
    let expected = [
        (1, "message.content is string", ConditionKind::Presence),
        (2, "'</think>' in message['content']", ConditionKind::Words),
        (3, "message.content.startswith('secret')", ConditionKind::Words),
        (
            4,
            "message.role == 'user' and (not (message.content is none))",
            ConditionKind::Presence,
        ),
        (5, "not (message.content or a) and b", ConditionKind::Presence),
        (6, "'x' in message.content", ConditionKind::Words),
    ];
    let expected = expected.map(|(line, text, kind)| (line, text.to_owned(), kind));
    assert_eq!(found(source), expected);
}

#[test]
fn words_are_followed_wherever_they_go() {
    let cases = [
        // Names and attributes.
        "{% set t = messages[0].content %}{% if t == 'now' %}{% endif %}",
        "{% set ns.seen = messages[0].content|lower %}{% if ns.seen == 'now' %}{% endif %}",
        "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = m.content %}{% endfor %}{{ 1 if 'x' in ns.t }}",
        "{% set ns = namespace() %}{% set other = ns %}{% set other.t = message.content %}{% if 'x' in ns.t %}{% endif %}",
        "{% set ns = namespace() %}{% set ns.t = message.content %}{% if ns['t'] == 'x' %}{% endif %}",
        "{% set ns = namespace(t=message.content) %}{% if ns[key] == 'x' %}{% endif %}",
        "{% set a, b = message.content, 1 %}{% if a == 'x' %}{% endif %}",
        "{% set a, b = [message.content, 1] %}{% if b == 'x' %}{% endif %}",
        "{% for m in messages %}{% for k, v in m.items() %}{% if v == 'x' %}{% endif %}{% endfor %}{% endfor %}",
        "{% for m in messages %}{% if loop.previtem.content == 'x' %}{% endif %}{% endfor %}",
        "{% for m in messages %}{% if loop.changed(m.content) %}{% endif %}{% endfor %}",
        "{% if c == 'x' %}{% endif %}{% set c = b %}{% set b = a %}{% set a = message.content %}",
        // Macros, blocks.
        "{% macro f(t) %}{% if 'secret' in t %}x{% endif %}{% endmacro %}{{ f(m.content) }}",
        "{% macro f(a, t='') %}{% if 'x' in t %}{% endif %}{% endmacro %}{{ f(1, t=m.content) }}",
        "{% macro f(a, t=m.content) %}{% if 'x' in t %}{% endif %}{% endmacro %}{{ f(1) }}",
        "{% macro f(a, t) %}{% if 'x' in t %}{% endif %}{% endmacro %}{{ f(*[1, m.content]) }}",
        "{% macro f(t) %}{% if 'x' in t %}{% endif %}{% endmacro %}{% set g = f %}{{ g(m.content) }}",
        "{% macro f(t) %}{{ t }}{% endmacro %}{% if 'x' in f(m.content) %}{% endif %}",
        "{% macro f() %}{{ caller(m.content) }}{% endmacro %}{% call(t) f() %}{% if t == 'x' %}{% endif %}{% endcall %}",
        "{% macro f() %}{% set t = caller() %}{% if t == 'x' %}{% endif %}{% endmacro %}{% call f() %}{{ m.content }}{% endcall %}",
        "{% macro f(t) %}{% if 'x' in t %}{% endif %}{% endmacro %}{{ {'a': f}['a'](m.content) }}",
        "{% macro f(t) %}{% if 'x' in t %}{% endif %}{% endmacro %}{% macro g(h) %}{{ h(m.content) }}{% endmacro %}{{ g(f) }}",
        "{% macro f() %}{% set c = caller %}{{ c(m.content) }}{% endmacro %}{% call(t) f() %}{% if t == 'x' %}{% endif %}{% endcall %}",
        "{% with t = m.content %}{% if t == 'x' %}{% endif %}{% endwith %}",
        "{% set t %}{{ m.content }}{% endset %}{% if t == 'x' %}{% endif %}",
        "{% set t | upper %}{{ m.content }}{% endset %}{% if t == 'X' %}{% endif %}",
        "{% block b %}{{ m.content }}{% endblock %}{% if self.b() == 'x' %}{% endif %}",
        // Lists and filters.
        "{{ messages | selectattr('content', 'equalto', 'x') | list }}",
        "{{ messages | rejectattr('content') | list }}",
        "{{ messages | selectattr(name) | list }}",
        "{% if 'x' in messages | map(attribute='content') | join %}{% endif %}",
        "{% if 'x' in messages | map(attribute='con' ~ 'tent') | list %}{% endif %}",
        "{{ messages | sort(attribute='content') | first }}",
        "{{ messages | unique | length }}",
        "{% if 'x' in messages | tojson %}{% endif %}",
        "{% if 'x' in messages[0] | string %}{% endif %}",
        "{% if messages | last | attr('content') == 'x' %}{% endif %}",
        "{% if messages[0] == other %}{% endif %}",
        "{% if message['con' ~ 'tent'] == 'x' %}{% endif %}",
        "{% if message[key] == 'x' %}{% endif %}",
        "{% if message.get('content') == 'x' %}{% endif %}",
        "{% if message | attr(key) == 'x' %}{% endif %}",
        "{% set all = [message.content] %}{% if all[0] == 'x' %}{% endif %}",
        "{% set all = {'a': message.content} %}{% if all.a == 'x' %}{% endif %}",
        "{% set all = [] %}{% set _ = all.append(message.content) %}{% if all[0] == 'x' %}{% endif %}",
        "{% if message.content | length > 9 %}{% endif %}",
        "{% if message.content.split('x')[1] is defined %}{% endif %}",
        "{% if message.content | trim('x') %}{% endif %}",
        "{% if 'x' in debug() %}{% endif %}",
    ];
    for source in cases {
        assert_words(source);
    }
}

#[test]
fn a_decision_needs_no_if() {
    let cases = [
        "{{ 'a' if 'x' in message.content else 'b' }}",
        "{% for m in messages if 'x' in m.content %}{% endfor %}",
        "{% for part in message.content.split('x') %}y{% endfor %}",
        "{{ ('x' in message.content) and 'y' }}",
        "{{ 'y' * ('x' in message.content) }}",
        "{{ ['a', 'b']['x' in message.content] }}",
        "{{ {'x': 'y'}.get(message.content) }}",
        "{{ {'x': 'y'}[message.content] }}",
        "{{ 'yyy'[:message.content.count('x')] }}",
        "{{ 'y' | truncate(message.content | length) }}",
        "{{ message.content | replace('x', 'y') }}",
        "{{ message.content.replace('x', 'y') }}",
        "{% filter replace('x', 'y') %}{{ message.content }}{% endfilter %}",
    ];
    for source in cases {
        assert_words(source);
    }
}

#[test]
fn what_is_not_understood_is_said() {
    let cases = [
        "{% include 'other' %}",
        "{% import 'other' as o %}{% if o.f(message) %}{% endif %}",
        "{% from 'other' import f %}",
        "{% extends 'other' %}",
        "{% for m in messages recursive %}{{ loop(m.parts) }}{% endfor %}",
        "{% if content",
        "{{ 'x",
        "{% if %}",
        "{% set %}{% for %}",
        "{% unknown %}",
        &("{{ a".to_owned() + &" + a".repeat(100_000) + " }}"),
        // Names that follow from each other against the order of reading.
        &(0..100)
            .map(|i| format!("{{% set a{i} = a{} %}}", i + 1))
            .collect::<String>()
            .replace("a100", "message.content"),
    ];
    for source in cases {
        let kinds: Vec<_> = found(source).into_iter().map(|(_, _, kind)| kind).collect();
        assert!(kinds.contains(&ConditionKind::Unknown), "{source}: {kinds:?}");
    }
    assert_eq!(found("{"), []);
    assert_eq!(found(""), []);
}

#[test]
fn templates_cut_off_anywhere_end() {
    let source = "{% macro f(a, b='x') %}{% if 'é' in a %}{{ a[1:] | replace('x', b) }}{% endif %}{% endmacro %}\
                  {% for k, v in message.items() if v %}{{ f(*v, **k) and not (v is in k) }}{% endfor %}";
    for (at, _) in source.char_indices() {
        let _ = on_content(&source[..at]);
        let _ = on_content(&source[at..]);
    }
    assert!(!alarms(source).is_empty());
}

#[test]
fn long_templates_are_read_soon() {
    let long = |piece: &str| piece.repeat(20_000);
    let many: String = (0..10_000)
        .map(|i| format!("{{% macro f{i}(a, b) %}}{{{{ a }}}}{{% endmacro %}}{{{{ g(f{i}(b)) }}}}"))
        .collect();
    for source in [
        long("{% macro f(a) %}{{ a }}{% endmacro %}{{ f(a) }}"),
        many + "{% set g = f0 %}",
        long("{% if message.content %}{{ message.role }}{% endif %}"),
    ] {
        assert_eq!(alarms(&source), Vec::<String>::new());
    }
}

#[test]
fn ordinary_templates_raise_no_alarm() {
    let cases = [
        "{{ message.content | trim }}{{ message['content'].strip() }}{{ '<s>' ~ message.content }}",
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}\
         {% else %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
         {{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system is defined %}\
         {% set text = system + m.content %}{% else %}{% set text = m.content %}{% endif %}{{ text | trim }}{% endfor %}",
        "{% set ns = namespace(is_first=true, system='') %}{% for m in messages %}{% if m.role == 'system' %}\
         {% set ns.system = ns.system + m.content %}{% elif ns.is_first %}{% set ns.is_first = false %}{% endif %}{% endfor %}",
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{% if messages | length > 1 %}{% endif %}",
        "{% for m in messages | reverse %}{% if loop.previtem.role == m.role or loop.changed(m.role) %}{% endif %}{% endfor %}",
        "{% macro show(m) %}<{{ m.role }}>{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endmacro %}\
         {% for m in messages %}{{ show(m) }}{{ loop.cycle('a', 'b') }}{% endfor %}",
        "{% if messages %}{% if 'role' in messages[0] and messages[0] is mapping %}{{ messages[-1]['role'] }}{% endif %}{% endif %}",
        "{% if tools is defined and tools | length > 0 %}{{ tools | tojson(indent=4) }}{% endif %}",
        "{% if message.content is string and message.content != '' %}{{ message.content or '' }}{% endif %}",
        "{% for m in messages %}{% if loop.last or not loop.last and messages[loop.index0 + 1].role != 'tool' %}{% endif %}\
         {% if m.tool_calls is defined %}{% for call in m.tool_calls %}{{ call.arguments | tojson }}{% endfor %}{% endif %}{% endfor %}",
        "{% generation %}{{ message.content }}{% endgeneration %}{% if message.role in ['user', 'system'] %}{% endif %}",
    ];
    for source in cases {
        assert_eq!(alarms(source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn templates_of_the_families_raise_no_alarm() {
    for source in template::FALLBACKS {
        assert_eq!(found(source), []);
    }
    if let Some(path) = testkit::need_model(testkit::SMOLLM2_FILE) {
        let file = weights::gguf::Gguf::open(path).unwrap();
        let source = file
            .metadata()
            .opt_text("tokenizer.chat_template")
            .unwrap()
            .unwrap();
        assert_eq!(found(source), []);
    }
}

#[test]
fn nothing_hides_behind_many_harmless_conditions() {
    let harmless = "{% if message.content %}{% endif %}".repeat(MAX_CONDITIONS);
    let source = harmless + "{% if 'secret' in message.content %}{% endif %}";
    assert_eq!(alarms(&source), ["'secret' in message.content"]);
    assert_eq!(found(&source).len(), MAX_CONDITIONS);
}

#[test]
fn nested_calls_are_looked_at_once_each() {
    // Each level seen twice would be 2^60 looks.
    for (open, close) in [
        ("f(", ")"),
        ("a.get(", ")"),
        ("namespace(a=", ")"),
        ("[", "]"),
        ("a[", "]"),
    ] {
        let macros = "{% macro f(t) %}{{ t }}{% endmacro %}{% macro f(t) %}{{ t }}{% endmacro %}";
        let source = format!("{macros}{{{{ {}1{} }}}}", open.repeat(60), close.repeat(60));
        assert_eq!(alarms(&source), Vec::<String>::new(), "{open}");
    }
}

#[test]
fn templates_as_deep_as_they_may_be_are_read() {
    for (open, repeated, close) in [
        ("{% if ", "not ", "message.content == 'x' %}{% endif %}"),
        ("{% if 1", " + 1", " + (message.content | length) %}{% endif %}"),
        ("{% if message.content", " | upper", " == 'x' %}{% endif %}"),
        (
            "{% if a %}",
            "{% elif a %}",
            "{% elif message.content == 'x' %}{% endif %}",
        ),
    ] {
        let n = if repeated.contains("elif") {
            240
        } else {
            980 / repeated.split_whitespace().count()
        };
        assert_words(&format!("{open}{}{close}", repeated.repeat(n)));
    }
}
