/** The labels to choose from: a radio button each, and a filter where there are many. */

const MANY = 20;
const SHOWN = 12; // of many labels, those on view
const SAME_NUMBER = 800; // milliseconds within which digits make one number
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

/** Whether all names are different whole numbers, so that a number is a name. */
const areNumbers = (names) => {
  const numbers = names.filter((name) => /^-?[0-9]{1,18}$/.test(name)).map(BigInt);
  return numbers.length === names.length && new Set(numbers).size === names.length;
};

/** Where the label stands that a text asks for: by name, else by number; -1 where there is none. */
export function findLabel(names, text) {
  const index = names.indexOf(text);
  if (index >= 0 || !/^[0-9]{1,18}$/.test(text)) return index;
  if (areNumbers(names)) return names.findIndex((name) => BigInt(name) === BigInt(text));
  return Number(text) < names.length ? Number(text) : -1;
}

/**
 * Fills the section; `choose(label)` is called with a number, or null where there is a button for
 * any label, which `unknown` says. Returns `press(key)` and `select(label)`.
 */
export function makeLabels(section, names, choose, unknown = false) {
  section.hidden = names.length === 0;
  section.classList.toggle("few", names.length <= MANY);
  const list = section.querySelector(".chips");
  const filter = section.querySelector("input[type=search]");
  const template = section.querySelector("template");
  function add(name, value) {
    const chip = template.content.cloneNode(true);
    const radio = chip.querySelector("input");
    radio.value = value;
    radio.checked = value === 0;
    chip.querySelector("span").textContent = name;
    chip.querySelector("label").title = name;
    list.append(chip);
    return radio;
  }
  const radios = names.map(add);
  if (unknown) add("any", "").parentElement.classList.add("any");
  list.addEventListener("change", ({ target: { value } }) => choose(value === "" ? null : Number(value)));

  filter.hidden = names.length <= MANY;
  filter.placeholder = `Find among ${names.length} labels`;
  function find() {
    const wanted = filter.value.trim().toLowerCase();
    const asked = findLabel(names, wanted);
    const found = radios.filter((_, number) => (
      number === asked || names[number].toLowerCase().includes(wanted)));
    const shown = new Set(names.length > MANY ? found.slice(0, SHOWN) : found);
    const chosen = radios.find((radio) => radio.checked);
    if (wanted === "" && chosen) shown.add(chosen);
    for (const radio of radios) radio.parentElement.hidden = !shown.has(radio);
    const rest = found.length - shown.size;
    const words = section.querySelector(".none");
    words.hidden = shown.size > 0 && rest === 0;
    words.textContent = rest > 0 ? `and ${rest} more: type a part of a name` : "No label has that in its name.";
  }
  filter.addEventListener("input", find);
  find();

  function select(number) {
    const radio = radios[number];
    radio.checked = true;
    radio.parentElement.hidden = false;
    choose(number);
  }

  let [typed, typedAt] = ["", 0];
  function type(digit) {
    const now = performance.now();
    const longer = now - typedAt < SAME_NUMBER ? typed + digit : digit;
    const goesOn = findLabel(names, longer) >= 0 || names.some((name) => name.startsWith(longer));
    [typed, typedAt] = [goesOn ? longer : digit, now];
    if (findLabel(names, typed) >= 0) select(findLabel(names, typed));
  }

  /** Whether the key chose a label: digits by number, arrows the one before or after. */
  function press(key) {
    if (names.length === 0) return false;
    if (/^[0-9]$/.test(key)) type(key);
    else if (key in STEPS) {
      const now = radios.findIndex((radio) => radio.checked);
      select((now + STEPS[key] + names.length) % names.length);
    } else return false;
    return true;
  }
  return { press, select };
}
