// Resend's client with what the environment says, and nothing else.
import assert from "node:assert/strict";
import { Resend } from "resend";

export const resend = new Resend(process.env.RESEND_API_KEY);

export const order = {
  from: "Shop <orders@shop.example.com>",
  to: "ada@example.com",
  subject: "Your order",
  html: "<p>Thank you!</p>",
};

// What was answered, if it was no error.
export function good({ data, error }) {
  assert.equal(error, null, JSON.stringify(error));
  return data;
}

// The name of the error that was answered.
export function refused({ data, error }) {
  assert.equal(data, null, JSON.stringify(data));
  assert.ok(error.statusCode >= 400 && error.message, JSON.stringify(error));
  return error.name;
}
