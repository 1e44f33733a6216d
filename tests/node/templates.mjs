import assert from "node:assert/strict";
import { good, refused, resend } from "./client.mjs";

const names = good(await resend.templates.list()).data.map((one) => one.name);
assert.ok(names.includes("password_changed"), names);
const found = good(await resend.templates.get("password_changed"));
assert.deepEqual(
  found.variables.map((one) => one.key).toSorted(),
  ["changed_at", "reset_url"],
);
assert.equal(refused(await resend.templates.get("nothing")), "not_found");

const variables = { changed_at: "noon", reset_url: "https://shop.example.com/reset" };
const email = { from: "service@example.com", to: "ada@example.com" };
const template = { id: found.id, variables };
const { id } = good(await resend.emails.send({ ...email, template }));
const incomplete = await resend.emails.send({ ...email, template: { id: found.id } });
assert.equal(refused(incomplete), "validation_error");
console.log(JSON.stringify({ id }));
